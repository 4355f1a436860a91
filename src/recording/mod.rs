//! Recordings: the inputs from discovery and the actions of a daemon in a file, for a replay in simulation with other
//! settings (`proxymgr replay`).
//!
//! # The file
//!
//! JSON, one object per line. Each run of the daemon begins with a [`Header`]; all other lines are [`Line`]s: the time
//! since the start of the run, and the content ([`What`]). Snapshots are stored as differences from the previous
//! snapshot of the same source in the same run.
//!
//! The file contains no credentials: of a definition only the service's own keys are kept, and the text after a word
//! like `authorization` in an option is left out (`redact.rs`).
//!
//! | file | content |
//! | --- | --- |
//! | `format.rs` | the lines |
//! | `recorder.rs`, `file.rs` | the recorder: a bounded queue, and the thread that writes |
//! | `tap.rs` | the taps between the sources and the actors, and at the journal |
//! | `reader.rs`, `snapshots.rs` | reading a file, and the snapshots that result from its differences |

mod file;
mod format;
mod reader;
mod recorder;
mod redact;
mod snapshots;
mod tap;

pub use format::{Entry, FORMAT, Header, Line, What};
pub use reader::{Numbered, Recording, Unreadable, read};
pub use recorder::Recorder;
pub use redact::without_credentials;
pub use snapshots::Snapshots;
pub use tap::{JournalFollower, listen};
