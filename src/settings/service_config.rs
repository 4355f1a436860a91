//! The source of definitions, and the annotations.

use std::path::{Path, PathBuf};

use super::reader::Reader;

/// The default path of the definitions.
const DEFAULT_PATH: &str = "/service_config";

/// The source of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceConfigSettings {
    /// The children of a znode.
    Zookeeper {
        /// The ensemble: `host:port,host:port`, with an optional chroot after the last.
        servers: String,
        /// The znode.
        path: String,
    },
    /// The keys below a path of Consul's store.
    Consul {
        /// The path.
        path: String,
    },
    /// The tags of Consul's services.
    ConsulCatalog {
        /// The tag that selects services.
        tag: String,
    },
    /// The keys of etcd with a prefix.
    Etcd {
        /// The path.
        path: String,
    },
    /// The apps of Marathon and their labels.
    Marathon,
    /// The files of a directory.
    File {
        /// The directory.
        path: PathBuf,
    },
}

/// The place of annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationSettings {
    /// The ensemble.
    pub servers: String,
    /// The znode.
    pub path: String,
}

/// Reads the section `annotations`; none without annotations.
pub fn read_annotations(
    reader: &mut Reader,
    definitions: Option<&ServiceConfigSettings>,
) -> Option<AnnotationSettings> {
    let own_servers = reader.servers("annotations.servers");
    let path = reader.text("annotations.path")?;
    if !is_znode(&path) || path == "/" {
        reader.refuse("annotations.path", format!("{path:?} must be a znode such as /annotations"));
    }
    let servers = match (own_servers, definitions) {
        (Some(servers), _) => servers,
        (None, Some(ServiceConfigSettings::Zookeeper { servers, path: services })) => {
            if *services == path {
                reader.refuse(
                    "annotations.path",
                    format!("{path:?} is the path of the definitions; annotations need another"),
                );
            }
            servers.clone()
        }
        (None, _) => {
            reader.refuse("annotations.path", "needs annotations.servers, the ZooKeeper ensemble of the annotations");
            return None;
        }
    };
    Some(AnnotationSettings { servers, path })
}

fn is_znode(path: &str) -> bool {
    path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_znode_name))
}

/// Reads the section `service_config`.
pub fn read(reader: &mut Reader) -> Option<ServiceConfigSettings> {
    let kind = reader.choice("service_config.type");
    let servers = reader.servers("service_config.servers");
    let path = reader.text("service_config.path");
    let tag = reader.text("service_config.tag");
    match kind? {
        kind @ ("consul" | "etcd") => {
            let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
            if path.trim_matches('/').is_empty() {
                reader.refuse("service_config.path", format!("{path:?} would make every key a service"));
            }
            let is_consul = kind == "consul";
            Some(if is_consul { ServiceConfigSettings::Consul { path } } else { ServiceConfigSettings::Etcd { path } })
        }
        "consul_catalog" => {
            let tag = tag?;
            if tag.is_empty() {
                reader.refuse("service_config.tag", "is empty; a tag is required");
            }
            Some(ServiceConfigSettings::ConsulCatalog { tag })
        }
        "marathon" => Some(ServiceConfigSettings::Marathon),
        "file" => match path {
            Some(path) if Path::new(&path).is_absolute() => Some(ServiceConfigSettings::File { path: path.into() }),
            Some(path) => {
                reader.refuse("service_config.path", format!("{path:?} must be the absolute path of a directory"));
                None
            }
            None => {
                if !reader.is_set("service_config.path") {
                    reader
                        .refuse("service_config.path", "is missing; type file needs the directory of the definitions");
                }
                None
            }
        },
        _ => {
            let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
            let path = path.strip_suffix('/').filter(|path| !path.is_empty()).map_or(path.clone(), str::to_owned);
            if !is_znode(&path) {
                reader.refuse("service_config.path", format!("{path:?} must be a znode such as /service_config"));
            }
            Some(ServiceConfigSettings::Zookeeper { servers: servers?, path })
        }
    }
}

fn is_znode_name(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".."
}
