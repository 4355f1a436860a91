//! Certificates on disk, in every layout and state.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use proxymgr_actors::limits::CERTIFICATE_FILE_BYTES_MAX;
use proxymgr_actors::model::{CertificateName, SeenCertificate};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

use super::*;

/// The operator's directory, and the private one beside it.
struct Place {
    place: TempDir,
    store: CertificateStore,
}

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("certs")).unwrap();
        let store = store_in(&place);
        Self { place, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("certs").join(name)
    }

    fn private(&self, name: &str) -> PathBuf {
        self.place.path().join("private").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Scans, and returns the state of the certificate `shop`.
    fn shop(&mut self) -> SeenCertificate {
        let mut scan = self.store.scan();
        scan.certificates.remove(&CertificateName::new("shop").unwrap()).unwrap_or_default()
    }

    /// Starts again with the files as they are.
    fn restart(&mut self) {
        self.store = store_in(&self.place);
    }
}

fn store_in(place: &TempDir) -> CertificateStore {
    let log = Logger::root(Discard, o!());
    CertificateStore::new(place.path().join("certs"), place.path().join("private"), log)
}

/// A chain and its key, as PEM.
struct Made {
    chain: String,
    key: String,
}

impl Made {
    /// A certificate for these names that expires in this year.
    fn until(names: &[&str], year: i32) -> Self {
        Self::in_period(names, year - 1, year)
    }

    fn in_period(names: &[&str], from: i32, to: i32) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "Authority");
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, "Shop");
        (leaf.not_before, leaf.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        Self { chain: leaf.pem() + &authority_certificate.pem(), key: key.serialize_pem() }
    }

    fn new() -> Self {
        Self::in_period(&["shop.example", "192.0.2.1"], 2020, 2100)
    }

    fn both(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

/// The certificate in use and why the files are refused.
fn used(seen: &SeenCertificate) -> (Option<&str>, Option<&str>) {
    (seen.good.as_ref().map(|good| &*good.pem.0), seen.problem.as_deref())
}

/// As openssl and rcgen write sections.
fn unix_lines(pem: &str) -> String {
    pem.replace("\r\n", "\n")
}

#[test]
fn every_layout_is_read() {
    let made = Made::new();
    let layouts: [&[(&str, &str)]; 3] = [
        &[("shop.pem", &made.both())],
        &[("shop.crt", &made.chain), ("shop.key", &made.key)],
        &[("shop/fullchain.pem", &made.chain), ("shop/privkey.pem", &made.key)],
    ];
    for files in layouts {
        let mut place = Place::new();
        files.iter().for_each(|(name, text)| place.write(name, text));
        let seen = place.shop();
        assert_eq!(seen.problem, None);
        let good = seen.good.unwrap();
        assert_eq!(&*good.pem.0, unix_lines(&made.both()));
        assert_eq!(good.subject, "CN=Shop");
        assert_eq!(good.names, ["shop.example", "192.0.2.1"]);
        assert_eq!(good.not_after_unix_ms, 4_102_444_800_000);
    }
}

#[test]
fn two_layouts_replace_nothing() {
    let (old, new) = (Made::new(), Made::new());
    let mut place = Place::new();
    place.write("shop.pem", &old.both());
    place.shop();
    place.write("shop.crt", &new.chain);
    place.write("shop.key", &new.key);
    let seen = place.shop();
    let (pem, problem) = used(&seen);
    assert_eq!(pem, Some(&*unix_lines(&old.both())));
    let problem = problem.unwrap();
    assert!(["shop.pem", "shop.crt", "shop.key"].iter().all(|file| problem.contains(file)), "{problem}");
    fs::remove_file(place.path("shop.pem")).unwrap();
    assert_eq!(used(&place.shop()), (Some(&*unix_lines(&new.both())), None));
}

#[test]
fn blank_lines_and_comments_are_left_out() {
    let made = Made::new();
    let chain = made.chain.replace("-----BEGIN", "\n\nsubject=CN = Shop\r\n   \n-----BEGIN");
    let key = made.key.replace("-----END", "\n\n-----END");
    let mut place = Place::new();
    place.write("shop.pem", &format!("# made by hand\n{chain}\n\n{key}\n\n"));
    let seen = place.shop();
    assert_eq!(used(&seen), (Some(&*unix_lines(&made.both())), None));
    let pem = seen.good.unwrap().pem.0;
    assert!(pem.lines().all(|line| !line.trim().is_empty() && line.len() <= 64), "{pem}");
    assert!(pem.ends_with("-----\n"));
}

#[test]
fn unusable_files_have_a_reason() {
    let (made, other) = (Made::new(), Made::new());
    let leaf_last = {
        let (leaf, authority) = made.chain.split_at(made.chain.rfind("-----BEGIN").unwrap());
        format!("{authority}{leaf}")
    };
    let broken = made.chain.replacen("MII", "AII", 1);
    let dh = "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n";
    let old_encryption = made.key.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n");
    let cases: [(String, &str); 12] = [
        (made.chain.clone(), "no private key"),
        (made.key.clone(), "no certificate"),
        (String::new(), "no private key"),
        (format!("{}{}", made.both(), other.key), "2 private keys"),
        (format!("{}{}", made.chain, other.key), "does not belong"),
        (format!("{leaf_last}{}", made.key), "certificate 2, which must be the first"),
        (format!("{broken}{}", made.key), "cannot be parsed"),
        (made.both().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "encrypted"),
        (format!("{}{old_encryption}", made.chain), "encrypted"),
        (format!("{}{dh}", made.both()), "DH parameters"),
        (made.both().replace("BEGIN CERT", "BEGIN TRUSTED CERT"), "TRUSTED CERTIFICATE"),
        ("x".repeat(CERTIFICATE_FILE_BYTES_MAX as usize + 1), "more than"),
    ];
    for (text, reason) in cases {
        let mut place = Place::new();
        place.write("shop.pem", &text);
        let seen = place.shop();
        assert_eq!(seen.good, None, "{reason}");
        let problem = seen.problem.unwrap();
        assert!(problem.contains(reason) && problem.contains("shop.pem"), "{problem}");
        assert!(!place.private("shop.pem").exists());
        assert_eq!(mistakes(&place.path(""), 0).len(), 1);
    }
}

#[test]
fn refusal_never_shows_the_key() {
    let made = Made::new();
    let secret = made.key.lines().nth(1).unwrap();
    for text in [
        made.both().replace('\n', " "),
        made.both().replace("-----\n", "----- "),
        made.both().replace("PRIVATE KEY-----\n", "PRIVATE KEY-----"),
        made.both().replace("-----END PRIVATE", "-----END OTHER"),
    ] {
        let mut place = Place::new();
        place.write("shop.pem", &text);
        let problem = place.shop().problem.unwrap();
        assert!(!problem.contains(&secret[..8]), "{problem}");
    }
}

#[test]
fn private_files_are_private() {
    let mut place = Place::new();
    fs::create_dir(place.private("")).unwrap();
    fs::set_permissions(place.private(""), fs::Permissions::from_mode(0o755)).unwrap();
    place.write("shop.pem", &Made::new().both());
    place.shop();
    assert_eq!(fs::metadata(place.private("")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(place.private("shop.pem")).unwrap().mode() & 0o7777, 0o600);
    let written = fs::metadata(place.private("shop.pem")).unwrap();
    place.restart();
    place.shop();
    assert_eq!(fs::metadata(place.private("shop.pem")).unwrap().ino(), written.ino(), "written only when it changes");
    fs::remove_file(place.private("shop.pem")).unwrap();
    place.shop();
    assert!(place.private("shop.pem").exists(), "written again");
}

#[test]
fn bad_pair_keeps_the_old_one() {
    let (old, new) = (Made::new(), Made::new());
    let mut place = Place::new();
    place.write("shop.crt", &old.chain);
    place.write("shop.key", &old.key);
    place.shop();
    let before = fs::metadata(place.private("shop.pem")).unwrap();
    place.write("shop.crt", &new.chain);
    for is_restarted in [false, true] {
        if is_restarted {
            place.restart();
        }
        let seen = place.shop();
        assert_eq!(used(&seen).0, Some(&*unix_lines(&old.both())));
        assert!(seen.problem.unwrap().contains("does not belong"));
        let after = fs::metadata(place.private("shop.pem")).unwrap();
        assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()), "the file is not touched");
    }
    place.write("shop.key", &new.key);
    assert_eq!(used(&place.shop()), (Some(&*unix_lines(&new.both())), None));
    assert_eq!(fs::read_to_string(place.private("shop.pem")).unwrap(), unix_lines(&new.both()));
}

#[test]
fn half_written_file_replaces_nothing() {
    let (old, new) = (Made::new(), Made::new());
    let mut place = Place::new();
    place.write("shop.pem", &old.both());
    place.shop();
    let complete = new.both();
    for end in (0..complete.len() - 2).step_by(61) {
        place.write("shop.pem", &complete[..end]);
        let seen = place.shop();
        assert_eq!(used(&seen).0, Some(&*unix_lines(&old.both())), "{end} bytes");
        assert!(seen.problem.is_some(), "{end} bytes");
    }
}

#[test]
fn expired_certificate_is_used_only_without_another() {
    let (expired, older, good) = (Made::until(&["a"], 2020), Made::until(&["a"], 2010), Made::new());
    let mut place = Place::new();
    place.write("shop.pem", &expired.both());
    assert_eq!(used(&place.shop()).0, Some(&*unix_lines(&expired.both())));
    assert_eq!(mistakes(&place.path(""), 1_700_000_000_000).len(), 1);
    place.write("shop.pem", &good.both());
    assert_eq!(used(&place.shop()), (Some(&*unix_lines(&good.both())), None));
    place.write("shop.pem", &older.both());
    let seen = place.shop();
    assert_eq!(used(&seen).0, Some(&*unix_lines(&good.both())));
    assert!(seen.problem.unwrap().contains("expired at 2010-01-01T00:00:00Z"));
}

#[test]
fn certificate_of_the_future_waits_for_its_time() {
    let (good, future) = (Made::new(), Made::in_period(&["a"], 2200, 2201));
    let mut place = Place::new();
    place.write("shop.pem", &future.both());
    let seen = place.shop();
    assert!(seen.good.is_some() && seen.problem.is_some(), "without another it is used");
    let mut place = Place::new();
    place.write("shop.pem", &good.both());
    place.shop();
    place.write("shop.pem", &future.both());
    assert_eq!(used(&place.shop()).0, Some(&*unix_lines(&good.both())));
    let now = place.store.fingerprints();
    assert!(place.store.is_due(&now), "its time comes without a change of a file");
}

/// Certbot's directories: `live/shop/*.pem` are links into `archive/shop`.
fn link_certbot(place: &Place, version: u32, made: &Made) {
    place.write(&format!("../archive/shop/fullchain{version}.pem"), &made.chain);
    place.write(&format!("../archive/shop/privkey{version}.pem"), &made.key);
    fs::create_dir_all(place.path("shop")).unwrap();
    for part in ["fullchain", "privkey"] {
        let link = place.path(&format!("shop/{part}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/shop/{part}{version}.pem"), link).unwrap();
    }
}

#[test]
fn certbot_renewal_is_noticed() {
    let (old, new) = (Made::new(), Made::new());
    let mut place = Place::new();
    fs::create_dir(place.place.path().join("archive")).unwrap();
    place.write("README", "This directory contains your keys and certificates.");
    link_certbot(&place, 1, &old);
    assert_eq!(used(&place.shop()), (Some(&*unix_lines(&old.both())), None));
    let now = place.store.fingerprints();
    assert!(!place.store.is_due(&now));
    // Between the two links.
    fs::remove_file(place.path("shop/fullchain.pem")).unwrap();
    let now = place.store.fingerprints();
    assert!(place.store.is_due(&now));
    assert_eq!(used(&place.shop()).0, Some(&*unix_lines(&old.both())));
    link_certbot(&place, 2, &new);
    let now = place.store.fingerprints();
    assert!(place.store.is_due(&now));
    assert_eq!(used(&place.shop()), (Some(&*unix_lines(&new.both())), None));
}

#[test]
fn gone_certificate_is_kept_until_the_next_start() {
    let made = Made::new();
    let mut place = Place::new();
    place.write("shop.pem", &made.both());
    place.write("other.pem", &made.both());
    place.shop();
    fs::remove_file(place.path("shop.pem")).unwrap();
    let seen = place.shop();
    assert!(seen.good.is_some() && seen.problem.unwrap().contains("gone"));
    assert!(place.private("shop.pem").exists());
    fs::write(place.private("x.pem.new"), "unfinished").unwrap();
    fs::write(place.private("list"), "not a certificate").unwrap();
    place.restart();
    assert_eq!(place.shop(), SeenCertificate::default());
    let left = fs::read_dir(place.private("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left.collect();
    left.sort();
    assert_eq!(left, ["list", "other.pem"]);
}

#[test]
fn missing_directory_removes_nothing() {
    let made = Made::new();
    let mut place = Place::new();
    place.write("shop.pem", &made.both());
    place.shop();
    fs::rename(place.path(""), place.place.path().join("moved")).unwrap();
    for is_restarted in [false, true] {
        if is_restarted {
            place.restart();
        }
        let scan = place.store.scan();
        assert_eq!(scan.problems.len(), 1);
        let seen = place.shop();
        assert_eq!(used(&seen).0, Some(&*unix_lines(&made.both())));
        assert!(seen.problem.is_some());
        assert!(place.private("shop.pem").exists());
    }
}

#[test]
fn names_that_are_none_are_reported() {
    let mut place = Place::new();
    place.write("my shop.pem", &Made::new().both());
    place.write(".shop.pem.Xy12", "of rsync");
    place.write("notes.txt", "");
    place.write("empty/README", "");
    let scan = place.store.scan();
    assert!(scan.certificates.is_empty());
    assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
}

#[test]
fn private_directory_that_cannot_be_used_is_a_problem() {
    let mut place = Place::new();
    place.write("shop.pem", &Made::new().both());
    let elsewhere = place.place.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let private = place.place.path().join("private");
    symlink(&elsewhere, &private).unwrap();
    let scan = place.store.scan();
    assert_eq!(scan.problems.len(), 1);
    let seen = scan.certificates.values().next().unwrap();
    assert!(seen.good.is_none() && seen.problem.is_some());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(&private).unwrap();
    let now = place.store.fingerprints();
    assert!(place.store.is_due(&now), "retried without a change of a file");
    assert!(place.shop().good.is_some());
}

#[test]
fn pipe_is_refused_without_waiting() {
    let mut place = Place::new();
    nix::unistd::mkfifo(&place.path("shop.pem"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(place.shop().problem.unwrap().contains("not a regular file"));
}

#[test]
fn keys_of_openssl_are_read() {
    for (algorithm, label) in [("rsa:2048", "PRIVATE KEY"), ("ec -pkeyopt ec_paramgen_curve:P-384", "PRIVATE KEY")] {
        let mut place = Place::new();
        let arguments =
            format!("req -x509 -newkey {algorithm} -nodes -days 30 -subj /CN=a.example -keyout shop.key -out shop.crt");
        let run = Command::new("openssl").args(arguments.split(' ')).current_dir(place.path("")).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        let seen = place.shop();
        assert_eq!(seen.problem, None, "{algorithm}");
        let good = seen.good.unwrap();
        assert!(good.pem.0.contains(label));
        assert_eq!(good.names, ["a.example"], "the common name, without alternative names");
    }
}

#[actix::test]
async fn watch_reports_changes_once() {
    let (old, new) = (Made::new(), Made::new());
    let place = Place::new();
    place.write("shop.crt", &old.chain);
    place.write("shop.key", &old.key);
    let mut store = store_in(&place.place);
    let first = store.scan();
    let (sender, mut scans) = tokio::sync::mpsc::unbounded_channel();
    let guard = watch(store, first, move |scan| sender.send(scan).unwrap());
    place.write("shop.crt", &new.chain);
    place.write("shop.key", &new.key);
    let scan = scans.recv().await.unwrap();
    assert_eq!(used(&scan.certificates[&CertificateName::new("shop").unwrap()]).0, Some(&*unix_lines(&new.both())));
    guard.refresh();
    place.write("other.pem", &old.both());
    let scan = scans.recv().await.unwrap();
    assert_eq!(scan.certificates.len(), 2, "a scan without a change is not reported");
    drop(guard);
    assert!(scans.recv().await.is_none());
}

/// Returns whether HAProxy fetches OCSP responses for a certificate with this extension, if its issuer is in the chain.
fn is_stapled(responder: Option<&str>, has_issuer: bool, staples: bool) -> bool {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    leaf.custom_extensions.extend(responder.map(|url| {
        // AuthorityInfoAccess with one description: id-ad-ocsp, and the URL.
        let url = url.as_bytes();
        let length = |more: usize| u8::try_from(url.len() + more).unwrap();
        let head = [0x30, length(14), 0x30, length(12), 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, length(0)];
        rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], [&head, url].concat())
    }));
    let mut pem = leaf.signed_by(&key, &issuer).unwrap().pem() + &key.serialize_pem();
    if has_issuer {
        pem += &authority_certificate.pem();
    }
    let mut place = Place::new();
    if staples {
        place.store = store_in(&place.place).stapling();
    }
    place.write("shop.pem", &pem);
    let is_stapled = place.shop().good.unwrap().is_stapled;
    let is_named = unstapled(&place.path("")).iter().any(|text| text.contains("certificate shop"));
    assert_eq!(is_named, responder.is_none() || !has_issuer);
    is_stapled
}

#[test]
fn ocsp_responses_need_a_responder_and_the_issuer() {
    let responder = Some("http://ocsp.example");
    assert!(is_stapled(responder, true, true));
    assert!(!is_stapled(responder, true, false), "haproxy.ocsp_update is off");
    assert!(!is_stapled(responder, false, true));
    assert!(!is_stapled(None, true, true));
}
