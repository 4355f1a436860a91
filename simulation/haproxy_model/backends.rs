//! Backends that are added and deleted at run time.

use proxymgr_actors::model::{BackendCommand, ProxyVersion, ServiceName};
use proxymgr_actors::port::Answer;

use super::{HaproxyModel, Said, Section};

const DYNAMIC_BACKENDS: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

impl HaproxyModel {
    /// Executes or refuses one command for a backend, and returns the answer as the adapter of the real socket would.
    pub fn change_backend(&mut self, command: &BackendCommand) -> Answer {
        let said = self.obey_for_backend(command);
        Answer { accepted: said.is_ok(), text: said.unwrap_or_else(|refusal| refusal) }
    }

    /// Returns whether an HTTP frontend can pass requests to this section.
    pub fn serves_http(&self, service: &ServiceName) -> bool {
        self.sections.get(service).is_some_and(|section| section.is_published && section.http)
    }

    fn obey_for_backend(&mut self, command: &BackendCommand) -> Said {
        if self.version < DYNAMIC_BACKENDS {
            return Err("Unknown command".to_owned());
        }
        if let BackendCommand::Add { service, from, .. } = command {
            let defaults = self.defaults.get(&**from).ok_or_else(|| format!("Cannot find default proxy '{from}'."))?;
            if let Some(other) = self.sections.get(service) {
                let kind = if other.is_listen { "proxy" } else { "backend" };
                let why = format!("name is already used by other proxy '{kind} {service}'.");
                return Err(format!("Error during backend creation : {why}"));
            }
            let added = Section { is_published: false, is_listen: false, ..defaults.clone() };
            let why = format!("backend '{service}' uses a non dynamic load balancing method");
            let registered = match added.dynamic {
                true => "New backend registered.".to_owned(),
                false => format!("New backend registered (no support for dynamic servers: {why})."),
            };
            self.sections.insert(service.clone(), added);
            return Ok(registered);
        }
        let section = self.sections.get_mut(command.service()).ok_or("No such backend.")?;
        match command {
            BackendCommand::Publish(_) => {
                section.is_published = true;
                Ok("Backend published.".to_owned())
            }
            BackendCommand::Unpublish(_) => {
                section.is_published = false;
                Ok("Backend unpublished.".to_owned())
            }
            BackendCommand::Add { .. } | BackendCommand::Delete(_) => {
                let refusal = if section.is_listen {
                    "Cannot delete a listen section."
                } else if section.is_published {
                    "Backend must be unpublished prior to its deletion."
                } else if !section.servers.is_empty() {
                    "Only a backend without server can be deleted."
                } else {
                    self.sections.remove(command.service());
                    return Ok("Backend deleted.".to_owned());
                };
                Err(refusal.to_owned())
            }
        }
    }
}
