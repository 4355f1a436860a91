//! The world's haproxy.cfg and the map beside it.

use std::future::ready;
use std::os::fd::RawFd;
use std::path::Path;

use proxymgr_actors::model::RouteCommand;
use proxymgr_actors::port::{Answer, CheckFailure, ConfigFile, ConfigMessage, ConfigText, PortFuture};
use tokio::time::sleep;

use super::{Things, World};

impl Things {
    /// Obeys a command about the map as HAProxy does.
    pub(super) fn route(&mut self, path: &Path, command: &RouteCommand) -> Answer {
        let text = command.text(&path.display().to_string(), command.key().as_str());
        self.commands.push(text.clone());
        let refused = self.refuse.as_ref().is_some_and(|refused| text.starts_with(refused));
        let map = self.map.as_mut().filter(|_| !refused);
        let done = map.is_some_and(|map| match command {
            RouteCommand::Add(key, service) => map.insert(key.clone(), service.to_string()).is_none(),
            RouteCommand::Set(key, service) => map.insert(key.clone(), service.to_string()).is_some(),
            RouteCommand::Delete(key) => map.remove(key).is_some(),
        });
        Answer { accepted: done, text: if done { String::new() } else { "Refused.".to_owned() } }
    }

    fn refusal_of(&self, text: &ConfigText) -> Result<(), CheckFailure> {
        if self.disk_full {
            return Err(CheckFailure::Failed("no space left on device".to_owned()));
        }
        let Some(bad) = &self.reject else { return Ok(()) };
        let line = text.to_string().lines().position(|line| line.contains(bad));
        let message = |line| ConfigMessage { line: Some(line + 1), text: "unknown keyword".to_owned() };
        line.map_or(Ok(()), |line| Err(CheckFailure::Rejected { messages: vec![message(line)] }))
    }
}

impl ConfigFile for World {
    fn check(&self, text: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        let takes = self.with(|things| things.check_takes);
        let outcome = self.with(|things| {
            things.refusal_of(&text)?;
            things.candidate = text.to_string();
            things.candidate_map = text.map.as_deref().map(str::to_owned);
            Ok(Vec::new())
        });
        Box::pin(async move {
            sleep(takes).await;
            outcome
        })
    }

    fn try_part(&self, text: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        Box::pin(ready(self.with(|things| things.refusal_of(&text)).map(|()| Vec::new())))
    }

    fn promote(&self) -> PortFuture<Result<(), String>> {
        self.with(|things| {
            things.live_file = things.candidate.clone();
            things.map_file = things.candidate_map.clone();
        });
        Box::pin(ready(Ok(())))
    }

    fn read_map(&self) -> PortFuture<Result<Option<String>, String>> {
        Box::pin(ready(Ok(self.with(|things| things.map_file.clone()))))
    }

    fn read(&self) -> PortFuture<Result<String, String>> {
        Box::pin(ready(Ok(self.with(|things| things.live_file.clone()))))
    }

    fn write(&self, text: ConfigText) -> PortFuture<Result<(), String>> {
        let outcome = self.with(|things| {
            things.writes += 1;
            if things.disk_full {
                return Err("no space left on device".to_owned());
            }
            things.live_file = text.to_string();
            things.map_file = text.map.as_deref().map(str::to_owned);
            Ok(())
        });
        Box::pin(ready(outcome))
    }
}
