//! The outputs besides HAProxy that are kept in sync, one adapter for each kind. To add one, write its file here, read
//! its keys in `src/settings/outputs.rs`, and add its line to [`open`].

mod hipache;
mod isolation;
mod stdout;
mod template;
mod view;

use std::rc::Rc;

use proxymgr_actors::port::ServiceOutput;
use slog::{Logger, o};

use crate::settings::OutputSettings;

pub use template::render;
pub use view::ServiceView;

/// Returns the adapters of these outputs. Nothing is read, written or connected yet.
pub fn open(outputs: &[OutputSettings], log: &Logger) -> Vec<Rc<dyn ServiceOutput>> {
    let log = log.new(o!("component" => "output"));
    let open = |output: &OutputSettings| -> Rc<dyn ServiceOutput> {
        match output {
            OutputSettings::Template(settings) => Rc::new(template::TemplateOutput::new(settings.clone(), log.clone())),
            OutputSettings::Hipache(settings) => Rc::new(hipache::HipacheOutput::new(settings.clone())),
            OutputSettings::Stdout(format) => Rc::new(stdout::StdoutOutput::new(*format)),
        }
    };
    outputs.iter().map(open).collect()
}
