//! What discovery said to a daemon, and what the daemon did about it, in a file: to be played again in simulation with
//! other settings (`proxymgr replay`).
//!
//! # The file
//!
//! JSON, one object a line. A line that holds [`Header`] begins a run of the daemon: the first line, and one more for
//! each later run that was told to record into the same file. All others are [`Line`]s: the time since then, and
//! [`What`] there was. Levels are told as differences from what the same source told before in the same run.
//!
//! Nobody's credentials get into it: of a definition only the keys that are the service's own are kept, and what
//! follows a word like `authorization` in an option is left out (`redact.rs`).
//!
//! | file | what is in it |
//! | --- | --- |
//! | `format.rs` | the lines |
//! | `recorder.rs`, `file.rs` | the recorder: a bounded queue, and the thread that writes |
//! | `tap.rs` | where it listens: between the sources and the actors, and at the journal |
//! | `reader.rs`, `levels.rs` | a file read back, and the levels that its differences add up to |

mod file;
mod format;
mod levels;
mod reader;
mod recorder;
mod redact;
mod tap;

pub use format::{Entry, FORMAT, Header, Line, What};
pub use levels::Levels;
pub use reader::{Numbered, Recording, Unreadable, read};
pub use recorder::Recorder;
pub use redact::without_credentials;
pub use tap::{JournalFollower, listen};
