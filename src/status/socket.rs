//! The unix socket for orders.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::unistd::{Gid, Group};

use crate::atomic_file::beside;

/// Looks up the group whose members may use the socket.
pub fn group_named(name: &str) -> Result<Gid, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("status.socket_group: there is no group {name}")),
        Err(errno) => Err(format!("status.socket_group: the group {name} cannot be looked up: {errno}")),
    }
}

/// Binds the socket, for this user alone or for the members of a group as well.
pub fn bind(path: &Path, group: Option<Gid>) -> Result<UnixListener, String> {
    let cannot = |error: io::Error| format!("cannot open status.socket {}: {error}", path.display());
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("status.socket {} exists and is not a socket", path.display()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            let advice = "each proxymgr needs its own: set status.socket";
            return Err(format!("another proxymgr listens at status.socket {}; {advice}", path.display()));
        }
        _ => {}
    }
    // Bound under another name, so that nobody can connect before it has its mode.
    let new = beside(path, "new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let socket = UnixListener::bind(&new).map_err(cannot)?;
    let opened = match group {
        Some(group) => chown(&new, None, Some(group.as_raw())).and_then(|()| set_mode(&new, 0o660)),
        None => set_mode(&new, 0o600),
    };
    opened.and_then(|()| fs::rename(&new, path)).map_err(cannot)?;
    Ok(socket)
}

/// Whether a socket was bound for this path and clients still find it there.
pub fn is_bound_for(socket: &UnixListener, path: Option<&Path>) -> bool {
    let bound = socket.local_addr().ok();
    let bound = bound.as_ref().and_then(|address| address.as_pathname());
    path.is_some_and(|path| bound == Some(&*beside(path, "new")) && path.exists())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_private_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let first = bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(&path, None).unwrap_err().contains("another proxymgr"));
        drop(first);
        drop(bind(&path, Some(Gid::current())).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(bind(&path, None).unwrap_err().contains("is not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }
}
