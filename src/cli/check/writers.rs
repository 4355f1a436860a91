//! Files with two writers: each would replace what the other has written. The operator is the writer of the base
//! configuration.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use proxymgr_actors::decide::base;

use crate::settings::{OutputSettings, Settings};

/// Returns a problem for each file that something else writes, too.
pub(super) fn conflicts(settings: &Settings) -> Vec<String> {
    let base_config = &settings.haproxy.policy.base_config;
    let mut writers = vec![
        ("haproxy.config_path".to_owned(), settings.haproxy.config_path.clone()),
        ("the map of domains, beside haproxy.config_path".to_owned(), base_config.map_path.clone()),
        ("haproxy.socket_path".to_owned(), base_config.socket_path.clone()),
    ];
    writers.extend(
        base_config.state_file.clone().map(|path| ("the state file, beside haproxy.config_path".to_owned(), path)),
    );
    let stats_file = base::layout(base_config).stats_file;
    writers.extend(stats_file.map(|path| ("the file with counters, beside haproxy.config_path".to_owned(), path)));
    writers.extend(settings.record.clone().map(|path| ("record".to_owned(), path)));
    let mut problems = Vec::new();
    for file in &base_config.files {
        let writer = writers.iter().find(|(_, path)| is_same(path, Path::new(&*file.path)));
        problems.extend(writer.map(|(key, _)| {
            format!(
                "haproxy.base_config: {} is also {key}, which proxymgr replaces: the original would be lost",
                file.path
            )
        }));
    }
    for (index, output) in settings.outputs.iter().enumerate() {
        let OutputSettings::Template(template) = output else { continue };
        let key = format!("outputs.{index}.path");
        if let Some((other, _)) = writers.iter().find(|(_, path)| is_same(path, &template.path)) {
            problems.push(format!(
                "{key}: {} is also {other}: each would replace what the other writes",
                template.path.display()
            ));
        }
        writers.push((key, template.path.clone()));
    }
    problems
}

/// Whether two paths lead to one file, which may not exist yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    real(one) == real(other) || inode(one).is_some_and(|found| inode(other) == Some(found))
}

/// The absolute path without links.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = fs::canonicalize(&absolute) {
        return real;
    }
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_to_one_file_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::write(path("a/x"), "").unwrap();
        symlink("a", path("b")).unwrap();
        symlink("a/x", path("link")).unwrap();
        fs::hard_link(path("a/x"), path("hard")).unwrap();
        for (one, other) in
            [("a/x", "b/x"), ("a/x", "link"), ("a/x", "hard"), ("a/new", "b/../a/new"), ("b/new", "a/new")]
        {
            assert!(is_same(&path(one), &path(other)), "{one} {other}");
        }
        for (one, other) in [("a/x", "a/y"), ("a/new", "new"), ("absent/x", "a/x")] {
            assert!(!is_same(&path(one), &path(other)), "{one} {other}");
        }
    }
}
