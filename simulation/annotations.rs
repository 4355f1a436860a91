//! Annotations of services, valid and invalid, in a ZooKeeper that may be unreachable.

use proxymgr_actors::model::Annotation;

use super::plan::Step;
use super::random::Random;
use super::world::World;

/// The annotation of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Selects one of the annotations, which differ in an option; `None` without an annotation.
    variant: Option<u8>,
    /// `Some` while the annotation is invalid (until healed); `true` if it is valid JSON.
    mistake: Option<bool>,
}

impl Note {
    /// Returns the annotation as its source shows it.
    pub(super) fn annotation(self) -> Option<Annotation> {
        let text = match (self.mistake, self.option()) {
            (Some(true), _) => r#"{"port": 1}"#.to_owned(),
            (Some(false), _) => "{\"listen_options\": ".to_owned(),
            (None, option) => format!(r#"{{"listen_options": ["{}"]}}"#, option?),
        };
        Some(Annotation::new(text, "the simulated annotations"))
    }

    /// Returns the option that it adds; `None` while it is invalid.
    pub(super) fn option(self) -> Option<String> {
        let variant = self.variant.filter(|_| self.mistake.is_none())?;
        Some(format!("{OPTION} {}s", 30 + u16::from(variant)))
    }

    pub(super) fn heal(&mut self) {
        self.mistake = None;
    }
}

/// Option that annotations add and no definition contains.
pub(super) const OPTION: &str = "timeout client";

/// Adds steps about annotations to the plan of this seed; most plans get none.
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
    /// Executes one step about annotations.
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
