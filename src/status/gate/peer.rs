//! The process at the other end of the daemon's unix socket, by its credentials (`SO_PEERCRED`, unix(7)).

use std::any::Any;
use std::ffi::CString;

use actix_web::dev::Extensions;
use actix_web::rt::net::UnixStream;
use nix::unistd::{Gid, Uid, User, getgrouplist};

use crate::token::Role;

/// A process on this machine. Every request of its connection has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `root`, or `uid 1000` without a name.
    pub user: String,
    /// Its user.
    pub uid: u32,
    /// Its process id, if the kernel reports it.
    pub pid: Option<i32>,
    /// What it may do; `None` for nothing.
    pub role: Option<Role>,
}

/// Who may use the unix socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeerRules {
    /// The group whose members may give orders, besides root and the user of the daemon.
    pub group: Option<Gid>,
}

impl PeerRules {
    /// Stores the peer of a new connection, if it is one of the unix socket. For `HttpServer::on_connect`.
    pub fn remember(self, connection: &dyn Any, data: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<UnixStream>() {
            data.insert(self.peer_of(stream));
        }
    }

    fn peer_of(self, stream: &UnixStream) -> Peer {
        let Ok(credentials) = stream.peer_cred() else {
            return Peer { user: "unknown".to_owned(), uid: u32::MAX, pid: None, role: None };
        };
        let (uid, gid) = (Uid::from_raw(credentials.uid()), Gid::from_raw(credentials.gid()));
        let user = User::from_uid(uid).ok().flatten();
        let name = user.as_ref().map_or_else(|| format!("uid {uid}"), |user| user.name.clone());
        let role = self.role_of(uid, gid, user.as_ref());
        Peer { user: name, uid: uid.as_raw(), pid: credentials.pid(), role }
    }

    fn role_of(self, uid: Uid, gid: Gid, user: Option<&User>) -> Option<Role> {
        if uid.is_root() || uid == Uid::effective() {
            return Some(Role::Admin);
        }
        let group = self.group?;
        let is_member = || {
            let user = user?;
            let groups = getgrouplist(&CString::new(user.name.as_str()).ok()?, user.gid).ok()?;
            groups.contains(&group).then_some(())
        };
        (gid == group || is_member().is_some()).then_some(Role::Operate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_own_user_and_group_have_roles() {
        let (group, other) = (Gid::from_raw(54_321), Gid::from_raw(54_322));
        let stranger = Uid::from_raw(54_321);
        let rules = PeerRules { group: Some(group) };
        assert_eq!(rules.role_of(Uid::from_raw(0), other, None), Some(Role::Admin));
        assert_eq!(rules.role_of(Uid::effective(), other, None), Some(Role::Admin));
        assert_eq!(rules.role_of(stranger, group, None), Some(Role::Operate));
        assert_eq!(rules.role_of(stranger, other, None), None);
        assert_eq!(PeerRules::default().role_of(stranger, group, None), None);
    }
}
