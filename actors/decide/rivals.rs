//! Several definitions of one name, such as `web.json` and `web.yml`: the one that runs stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::RawDefinition;

/// Definitions by the names of their services.
type Definitions = BTreeMap<Arc<str>, RawDefinition>;

/// Chooses one definition of each name: the one that runs, or else the first. `running` returns the origin of the definition
/// that runs. The others become unusable, and are listed under the name of their file.
pub fn settle(list: Arc<Definitions>, running: impl Fn(&str) -> Option<Arc<str>>) -> Arc<Definitions> {
    if list.values().all(|definition| definition.rivals.is_empty()) {
        return list;
    }
    let mut settled = Definitions::new();
    let mut losers = Vec::new();
    for (name, definition) in &*list {
        let mut chosen = definition.clone();
        let mut rivals = std::mem::take(&mut chosen.rivals);
        let owner = running(name).and_then(|owner| rivals.iter().position(|rival| rival.origin == owner));
        if let Some(at) = owner {
            std::mem::swap(&mut chosen, &mut rivals[at]);
        }
        let problem = format!("the service {name} is already defined by {}", chosen.origin);
        losers.extend(rivals.into_iter().map(|rival| RawDefinition::unreadable(problem.as_str(), rival.origin)));
        settled.insert(name.clone(), chosen);
    }
    for loser in losers {
        let file = loser.origin.rsplit('/').next().unwrap_or(&loser.origin).into();
        settled.entry(file).or_insert(loser);
    }
    Arc::new(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: &str) -> RawDefinition {
        RawDefinition::new(format!("the text of {origin}"), origin)
    }

    fn settled(running: Option<&str>) -> Arc<Definitions> {
        let web = RawDefinition { rivals: vec![of("/d/web.yaml"), of("/d/web.yml")], ..of("/d/a.json") };
        let list = Definitions::from([("api".into(), of("/d/api.json")), ("web".into(), web)]);
        settle(Arc::new(list), |name| running.filter(|_| name == "web").map(Into::into))
    }

    #[test]
    fn running_definition_stays_and_the_others_are_reported() {
        for (running, stays) in [
            (None, "/d/a.json"),
            (Some("/d/a.json"), "/d/a.json"),
            (Some("/d/web.yml"), "/d/web.yml"),
            (Some("/d/gone.json"), "/d/a.json"),
        ] {
            let list = settled(running);
            assert_eq!(list["web"], of(stays));
            assert_eq!(list["api"], of("/d/api.json"));
            let reported: Vec<_> = list.values().filter(|definition| definition.problem.is_some()).collect();
            assert_eq!(reported.len(), 2);
            assert!(
                reported.iter().all(|loser| loser.problem.as_ref().unwrap().contains(stays) && &*loser.origin != stays)
            );
        }
        assert!(settled(Some("/d/web.yml")).contains_key("a.json"));
    }
}
