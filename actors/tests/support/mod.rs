//! Base configurations for tests.

use std::sync::Arc;

use proxymgr_actors::decide::base::{self, BaseLayout};
use proxymgr_actors::model::{BaseConfig, BaseFile, ProxyManagement};

/// Returns the layout of one file of the operator.
pub fn layout(text: &str, management: ProxyManagement) -> Arc<BaseLayout> {
    Arc::new(base::layout(&BaseConfig {
        files: vec![BaseFile::new("/etc/edge.cfg", text)],
        global: Vec::new(),
        defaults: Vec::new(),
        socket_path: "/run/proxymgr.sock".into(),
        map_path: "/run/haproxy.cfg.domains".into(),
        state_file: None,
        management,
    }))
}
