//! The last good certificate of each name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use proxymgr_actors::model::{CertificateName, Certificates, GoodCertificate, SeenCertificate};
use slog::{Logger, error, info, warn};

use super::files::{Fingerprint, Listing, NamedFiles};
use super::pair::{Pair, rfc3339};
use super::private_files::PrivateFiles;

/// Identifies the contents of all files; or why the directory cannot be listed.
pub(super) type Fingerprints = Result<BTreeMap<PathBuf, Option<Fingerprint>>, String>;

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateScan {
    /// All certificates.
    pub certificates: Certificates,
    /// Problems that concern no single certificate: of the directories, and names that cannot be used.
    pub problems: Vec<String>,
}

/// The operator's certificates, and the last good ones in the private directory.
pub struct CertificateStore {
    directory: PathBuf,
    private: PrivateFiles,
    /// Whether HAProxy fetches OCSP responses, where it can.
    staples: bool,
    log: Logger,
    /// What stands in the private directory.
    good: BTreeMap<CertificateName, GoodCertificate>,
    logged: Logged,
    /// Of the files before the last scan; `None` before the first.
    scanned: Option<Fingerprints>,
    /// Whether a further scan can have another result although no file changes.
    must_scan_again: bool,
}

/// What the log already contains.
#[derive(Default)]
struct Logged {
    accepted: BTreeMap<CertificateName, GoodCertificate>,
    refused: BTreeMap<CertificateName, String>,
    problems: BTreeSet<String>,
}

/// Why files are not used.
struct Refusal {
    problem: String,
    /// Whether the same files may be used later.
    is_temporary: bool,
}

impl CertificateStore {
    /// A store that reads the operator's `directory` and writes `private_directory`.
    pub fn new(directory: PathBuf, private_directory: PathBuf, log: Logger) -> Self {
        Self {
            directory,
            private: PrivateFiles::new(private_directory),
            staples: false,
            log,
            good: BTreeMap::new(),
            logged: Logged::default(),
            scanned: None,
            must_scan_again: false,
        }
    }

    /// Has HAProxy fetch OCSP responses for the certificates for which it can.
    #[must_use]
    pub fn stapling(self) -> Self {
        Self { staples: true, ..self }
    }

    /// Reads all files, saves the good ones, and returns the state of every certificate. Blocks.
    pub fn scan(&mut self) -> CertificateScan {
        self.must_scan_again = false;
        let is_first = self.scanned.is_none();
        let mut problems: Vec<String> = self.private.prepare().err().into_iter().collect();
        if is_first {
            let loaded = self.private.load().into_iter();
            self.good = loaded.map(|(name, pair)| (name, self.judged(pair).certificate)).collect();
        }
        let listing = Listing::of(&self.directory);
        self.scanned = Some(listing.as_ref().map_err(Clone::clone).map(|found| found.fingerprints(&self.directory)));
        let mut refused = BTreeMap::new();
        match &listing {
            Ok(listing) => {
                if is_first {
                    self.good.retain(|name, _| listing.files.contains_key(name));
                    self.private.retain(&listing.files.keys().collect());
                }
                for (name, files) in &listing.files {
                    if let Err(Refusal { problem, is_temporary }) = self.take_in(name, files) {
                        self.must_scan_again |= is_temporary;
                        refused.insert(name.clone(), problem);
                    }
                }
                problems.extend(listing.misnamed.iter().cloned());
                for name in self.good.keys().filter(|name| !listing.files.contains_key(name)) {
                    refused.insert(name.clone(), format!("its files are gone from {}", self.directory.display()));
                }
            }
            Err(problem) => {
                problems.push(problem.clone());
                refused = self.good.keys().map(|name| (name.clone(), problem.clone())).collect();
            }
        }
        self.log(&refused, &problems);
        let names: BTreeSet<&CertificateName> = self.good.keys().chain(refused.keys()).collect();
        let seen = |name: &CertificateName| SeenCertificate {
            good: self.good.get(name).cloned(),
            problem: refused.get(name).cloned(),
        };
        CertificateScan { certificates: names.into_iter().map(|name| (name.clone(), seen(name))).collect(), problems }
    }

    /// Returns what identifies the contents of the files now. Blocks.
    pub(super) fn fingerprints(&self) -> Fingerprints {
        Ok(Listing::of(&self.directory)?.fingerprints(&self.directory))
    }

    /// Returns whether a scan can have another result than the last one, with these files.
    pub(super) fn is_due(&self, now: &Fingerprints) -> bool {
        self.must_scan_again || self.scanned.as_ref() != Some(now)
    }

    fn judged(&self, pair: Pair) -> Pair {
        if self.staples { pair.stapled() } else { pair }
    }

    /// Makes the certificate in these files the good one of its name.
    fn take_in(&mut self, name: &CertificateName, files: &NamedFiles) -> Result<(), Refusal> {
        let unusable = |problem| Refusal { problem, is_temporary: false };
        let texts = files.read(&self.directory, name).map_err(unusable)?;
        let pair = self.judged(Pair::parse(&texts).map_err(unusable)?);
        let temporary = |problem| Refusal { problem, is_temporary: true };
        let now_unix_ms = unix_ms_now();
        let out_of_period = pair.out_of_period(now_unix_ms);
        // The only certificate is used whatever its period: its listener needs one.
        let is_better = |good: &GoodCertificate| good.not_after_unix_ms > now_unix_ms && *good != pair.certificate;
        if let Some(problem) = &out_of_period
            && self.good.get(name).is_some_and(is_better)
        {
            return Err(temporary(problem.clone()));
        }
        let is_expired = pair.certificate.not_after_unix_ms <= now_unix_ms;
        // A certificate whose file cannot be written would be lost at the next start of HAProxy.
        self.private.save(name, &pair.certificate).map_err(temporary)?;
        if let (true, Some(why)) = (self.staples && self.good.get(name) != Some(&pair.certificate), pair.unstapled) {
            warn!(self.log, "HAProxy fetches no OCSP responses for a certificate: {}", why; "certificate" => %name);
        }
        self.good.insert(name.clone(), pair.certificate);
        // The expiry of a certificate in use is reported wherever certificates are shown.
        out_of_period.filter(|_| !is_expired).map_or(Ok(()), |problem| Err(temporary(problem)))
    }

    /// Logs each acceptance and refusal once.
    fn log(&mut self, refused: &BTreeMap<CertificateName, String>, problems: &[String]) {
        for (name, good) in self.good.iter().filter(|(name, _)| !refused.contains_key(*name)) {
            let is_again = self.logged.refused.contains_key(name);
            if self.logged.accepted.get(name) != Some(good) || is_again {
                info!(self.log, "certificate accepted"; "certificate" => %name, "subject" => &good.subject,
                    "names" => good.names.join(", "), "expires" => rfc3339(good.not_after_unix_ms));
                if good.not_after_unix_ms <= unix_ms_now() {
                    error!(self.log, "expired certificate in use: there is no other"; "certificate" => %name);
                }
                self.logged.accepted.insert(name.clone(), good.clone());
            }
        }
        for (name, problem) in refused.iter().filter(|(name, problem)| self.logged.refused.get(*name) != Some(*problem))
        {
            let used = if self.good.contains_key(name) { "the last good one" } else { "none" };
            error!(self.log, "certificate refused: {}", problem; "certificate" => %name, "used" => used);
        }
        self.logged.refused.clone_from(refused);
        for problem in problems.iter().filter(|problem| !self.logged.problems.contains(*problem)) {
            error!(self.log, "{}", problem);
        }
        self.logged.problems = problems.iter().cloned().collect();
    }
}

fn unix_ms_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
