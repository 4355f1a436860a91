//! The `global` section of the base configuration, from the operator's files or from the lines in the settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::sections::File;
use crate::decide::quoting::split_line;
use crate::model::{Address, BaseConfig};

/// Returns the words of each line of `global`. Conditionals are not read: a line within one counts.
pub fn global_lines(config: &BaseConfig) -> Vec<Vec<String>> {
    let of_settings = config.global.iter().map(|line| match split_line(line) {
        Ok(words) => words.iter().map(|word| word.as_str().to_owned()).collect(),
        // HAProxy may understand it regardless.
        Err(_) => line.split_whitespace().map(str::to_owned).collect(),
    });
    let files = config.files.iter().map(|file| File::read(&file.path, &file.text));
    let sections = files.flat_map(|file| file.sections).filter(|section| section.keyword == "global");
    let of_files = sections
        .flat_map(|section| section.lines)
        .map(|line| line.tokens().iter().map(|token| token.text.clone()).collect());
    of_settings.chain(of_files).collect()
}

/// Returns the addresses and ports at which HAProxy offers its Runtime API over TCP (`stats socket`). An unspecified address
/// stands for all of this machine.
///
/// <https://docs.haproxy.org/3.2/configuration.html#3.1-stats%20socket>
pub fn runtime_apis(config: &BaseConfig) -> Vec<(Address, u16)> {
    let mut apis = Vec::new();
    for words in global_lines(config) {
        if let [stats, socket, addresses, ..] = &*words
            && (stats.as_str(), socket.as_str()) == ("stats", "socket")
        {
            for text in addresses.split(',') {
                let Some((address, ports)) = tcp_address(text) else { continue };
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse()) {
                    apis.extend((first..=last).map(|port| (address.clone(), port)));
                }
            }
        }
    }
    apis
}

/// Returns the paths of the unix sockets at which HAProxy offers its Runtime API (`stats socket`).
pub fn runtime_sockets(config: &BaseConfig) -> Vec<PathBuf> {
    let addresses = |words: Vec<String>| match &*words {
        [stats, socket, addresses, ..] if (stats.as_str(), socket.as_str()) == ("stats", "socket") => {
            addresses.split(',').map(|text| text.strip_prefix("unix@").unwrap_or(text).into()).collect()
        }
        _ => Vec::new(),
    };
    global_lines(config).into_iter().flat_map(addresses).filter(|path: &PathBuf| path.is_absolute()).collect()
}

/// Returns the directory that HAProxy changes its root to; `None` where it keeps the machine's.
pub fn chroot(config: &BaseConfig) -> Option<PathBuf> {
    let directory = |words: &Vec<String>| match &**words {
        [chroot, path, ..] if chroot == "chroot" => Some(PathBuf::from(path)),
        _ => None,
    };
    global_lines(config).iter().rev().find_map(directory).filter(|path| path != Path::new("/"))
}

/// Splits an address of HAProxy's notation into address and ports; `None` for what is not TCP, such as a path.
fn tcp_address(text: &str) -> Option<(Address, &str)> {
    let (family, address) = text.split_once('@').map_or(("", text), |(family, address)| (family, address));
    let unspecified = match family {
        "" | "ipv4" | "tcp" | "tcp4" => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        "ipv6" | "tcp6" => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if address.starts_with('/') {
        return None;
    }
    let (host, ports) = address.rsplit_once(':')?;
    let address = match host {
        "" | "*" => Address::Ip(unspecified),
        host => Address::parse(host).ok()?,
    };
    Some((address, ports))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BaseFile, ProxyManagement};

    fn config(global: &[&str], file: &str) -> BaseConfig {
        BaseConfig {
            files: vec![BaseFile::new("/etc/h.cfg", file)],
            global: global.iter().map(|line| (*line).to_owned()).collect(),
            defaults: Vec::new(),
            socket_path: "/run/h.sock".into(),
            map_path: "/etc/h.map".into(),
            state_file: None,
            management: ProxyManagement::Supervised,
        }
    }

    fn apis(global: &[&str], file: &str) -> Vec<String> {
        let apis = runtime_apis(&config(global, file));
        apis.iter().map(|(address, port)| format!("{address} {port}")).collect()
    }

    #[test]
    fn unix_sockets_and_the_root_are_found() {
        let lines = ["stats socket /run/x level admin", "stats socket unix@/run/y,:9999", "stats socket fd@7"];
        assert_eq!(runtime_sockets(&config(&lines, "")), [Path::new("/run/x"), Path::new("/run/y")]);
        assert_eq!(chroot(&config(&["chroot /var/lib/haproxy"], "")), Some("/var/lib/haproxy".into()));
        assert_eq!(chroot(&config(&["chroot /"], "")), None);
        assert_eq!(chroot(&config(&[], "global\n    chroot /jail\n")), Some("/jail".into()));
    }

    #[test]
    fn sockets_over_tcp_are_found() {
        for (line, found) in [
            ("stats socket ipv4@127.0.0.1:9999 level admin", vec!["127.0.0.1 9999"]),
            ("stats socket :9999", vec!["0.0.0.0 9999"]),
            ("stats   socket \"*:9999\" level user", vec!["0.0.0.0 9999"]),
            ("stats socket ipv6@:9999", vec![":: 9999"]),
            ("stats socket [::1]:9999", vec!["::1 9999"]),
            ("stats socket tcp4@10.0.0.1:9998-9999", vec!["10.0.0.1 9998", "10.0.0.1 9999"]),
            ("stats socket localhost:9999,/run/x", vec!["localhost 9999"]),
            ("stats socket /run/x:1 mode 600", vec![]),
            ("stats socket unix@/run/x:1", vec![]),
            ("stats socket fd@7", vec![]),
            ("stats timeout 2m", vec![]),
            ("log 127.0.0.1:514 local0", vec![]),
        ] {
            assert_eq!(apis(&[line], ""), found, "{line}");
            assert_eq!(apis(&[], &format!("global\n    {line}\ndefaults\n")), found, "{line}");
        }
        assert_eq!(apis(&[], "frontend f\n    stats socket :9999\n"), Vec::<String>::new());
    }
}
