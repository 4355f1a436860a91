//! Backends that come and go at run time: which plans have a HAProxy that can do that, how it executes the commands, and
//! what must hold.

use proxymgr_actors::model::{BackendCommand, ProxyVersion, ServiceName};
use proxymgr_actors::port::Answer;

use super::invariant::{Invariant, Violation};
use super::plan::{Refused, SERVICES, Step};
use super::planted_bug::PlantedBug;
use super::random::Random;
use super::things::Things;
use super::world::World;

/// The first version that adds backends at run time.
const VERSION: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

/// Returns the version of HAProxy in a plan: in some, one that adds backends at run time.
pub(super) fn draw_version(seed: u64, otherwise: ProxyVersion) -> ProxyVersion {
    if Random::of_purpose(seed, "a HAProxy that adds backends").chance(25) { VERSION } else { otherwise }
}

/// Adds to plans with such a HAProxy services that share a port from the beginning, and that go and return.
pub(super) fn draw(seed: u64, version: ProxyVersion, steps: &mut Vec<Step>) {
    if version < VERSION {
        return;
    }
    let mut random = Random::of_purpose(seed, "services come and go");
    let insert = |steps: &mut Vec<Step>, random: &mut Random, added: Vec<Step>| {
        let place = usize::try_from(random.between(0, steps.len() as u64)).unwrap_or_default();
        steps.splice(place..place, added);
    };
    for service in SERVICES.into_iter().filter(|_| random.chance(80)).collect::<Vec<_>>() {
        steps.insert(0, Step::Domains { service: service.to_owned(), numbers: vec![1] });
    }
    for _ in 0..random.between(2, 6) {
        let service = (*random.pick(&SERVICES)).to_owned();
        let (least, most) = *random.pick(&[(1, 60), (900, 3_000), (9_000, 16_000)]);
        let mut added = vec![Step::RemoveService { service: service.clone() }];
        added.push(Step::Wait { ms: random.between(least, most) });
        added.push(Step::DefineService { service: service.clone() });
        added.push(Step::Join { service, host: 1 });
        insert(steps, &mut random, added);
    }
}

impl World {
    /// Executes commands for backends and returns the answers; `None` if the process has ended.
    pub(super) fn change_backends_of(&self, pid: u32, commands: &[BackendCommand]) -> Option<Vec<Answer>> {
        let answers = self.with(|things| {
            let answer = |command: &BackendCommand| things.change_backend(pid, command);
            commands.iter().map(answer).collect::<Option<Vec<_>>>()
        })?;
        for (command, answer) in commands.iter().zip(&answers) {
            self.note("HaproxyStateActor", format_args!("HAProxy ({pid})"), format!("{command}: {}", answer.text));
            if !answer.accepted {
                self.with(|things| things.oracle.cause(format!("`{command}` was refused")));
            }
        }
        Some(answers)
    }
}

impl Things {
    fn change_backend(&mut self, pid: u32, command: &BackendCommand) -> Option<Answer> {
        let is_kind_refused = match command {
            BackendCommand::Add { .. } => self.refuses.contains(&Refused::Add),
            BackendCommand::Publish(_) => self.refuses.contains(&Refused::Ready),
            BackendCommand::Unpublish(_) => self.refuses.contains(&Refused::Maintenance),
            BackendCommand::Delete(_) => self.refuses.contains(&Refused::Delete),
        };
        let is_lost = match command {
            BackendCommand::Publish(_) => self.planted == Some(PlantedBug::ForgetsToPublish),
            BackendCommand::Delete(_) => self.planted == Some(PlantedBug::KeepsABackend),
            BackendCommand::Add { .. } | BackendCommand::Unpublish(_) => false,
        };
        let is_refused = is_kind_refused || self.is_refused(|| command.to_string());
        let process = self.processes.get_mut(&pid)?;
        if is_refused {
            process.has_refused = true;
            return Some(Answer { accepted: false, text: "Permission denied".to_owned() });
        }
        if is_lost {
            return Some(Answer { accepted: true, text: String::new() });
        }
        let answer = process.model.change_backend(command);
        let name = command.service().as_str();
        match command {
            BackendCommand::Publish(_) if answer.accepted => drop(process.sections.insert(name.to_owned())),
            BackendCommand::Unpublish(_) if answer.accepted => drop(process.sections.remove(name)),
            _ => {}
        }
        Some(answer)
    }

    /// Checks that every route of the serving process leads to a backend that serves HTTP.
    pub(super) fn routes_lead_to_backends(&self) -> Result<(), Violation> {
        let Some(process) = self.serving().and_then(|pid| self.processes.get(&pid)) else { return Ok(()) };
        let serves = |name: &str| ServiceName::new(name).is_ok_and(|name| process.model.serves_http(&name));
        let routes = process.map.as_ref().map(|map| map.show()).unwrap_or_default();
        match routes.into_iter().find(|(_, service)| !serves(service)) {
            None => Ok(()),
            Some((key, service)) => {
                let what = format!("{} leads to {service}, which gets no requests", key.as_str());
                Err(Violation { invariant: Invariant::RoutesLeadToBackends, what })
            }
        }
    }
}
