//! What somebody adds to the definitions of services, well or badly, in a ZooKeeper that may be away.

use proxymgr_actors::model::Annotation;

use super::plan::Step;
use super::random::Random;
use super::world::World;

/// The annotation of one service, if it has any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Chooses between annotations that differ in an option; none where there is none.
    variant: Option<u8>,
    /// Whether a mistake stands in its place, until it is healed, and whether that is at least JSON.
    mistake: Option<bool>,
}

impl Note {
    /// The source's name in definitions.
    pub(super) fn annotation(self) -> Option<Annotation> {
        let text = match (self.mistake, self.option()) {
            (Some(true), _) => r#"{"port": 1}"#.to_owned(),
            (Some(false), _) => "{\"listen_options\": ".to_owned(),
            (None, option) => format!(r#"{{"listen_options": ["{}"]}}"#, option?),
        };
        Some(Annotation { text: text.into(), origin: "the simulated annotations".into() })
    }

    /// The option that it adds: none where there is a mistake in it.
    pub(super) fn option(self) -> Option<String> {
        let variant = self.variant.filter(|_| self.mistake.is_none())?;
        Some(format!("{OPTION} {}s", 30 + u16::from(variant)))
    }

    pub(super) fn heal(&mut self) {
        self.mistake = None;
    }
}

/// The option that annotations add, which no definition has.
pub(super) const OPTION: &str = "timeout client";

/// What happens to the annotations in the plan of this seed, among its other steps; nothing in most.
pub(super) fn draw(seed: u64, services: &[(String, u8)], steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "annotations");
    if !random.chance(30) {
        return;
    }
    for _ in 0..random.between(1, 6) {
        let service = random.pick(services).0.clone();
        let step = match random.below(8) {
            0..=3 => Step::Annotated { service, variant: u8::try_from(random.below(3)).unwrap_or_default() },
            4 => Step::AnnotationRemoved { service },
            5 => Step::BadAnnotation { service, is_json: random.chance(50) },
            _ => Step::AnnotationsLost,
        };
        let place = usize::try_from(random.below(steps.len() as u64)).unwrap_or_default();
        steps.insert(place, step);
    }
}

impl World {
    /// Does one step about annotations.
    pub(super) fn annotate(&self, step: &Step) {
        match step {
            Step::Annotated { service, variant } => {
                let note = Note { variant: Some(*variant), mistake: None };
                self.change(service, |service| service.note = note);
            }
            Step::AnnotationRemoved { service } => self.change(service, |service| service.note = Note::default()),
            Step::BadAnnotation { service, is_json } => {
                self.change(service, |service| service.note.mistake = Some(*is_json));
            }
            Step::AnnotationsLost => self.with(|things| things.annotations_lost = true),
            _ => {}
        }
        self.show_definitions();
    }
}
