//! Escapes hidden characters in JSON, such as those that reverse the direction of a text: a reader of the log sees them.

use std::io::{self, Write};

use proxymgr_actors::decide::visible::is_hidden;

/// Writes JSON text on. Hidden characters become escapes, which mean the same in JSON; except at line ends, they only occur in
/// strings.
pub struct JsonWriter<W> {
    writer: W,
}

impl<W: Write> JsonWriter<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: Write> Write for JsonWriter<W> {
    /// Writes whole pieces: the serializer never divides a character.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_escaped = |character: char| character >= ' ' && is_hidden(character);
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(is_escaped) => {
                for piece in text.split_inclusive(is_escaped) {
                    let hidden = piece.chars().next_back().filter(|last| is_escaped(*last));
                    self.writer.write_all(&piece.as_bytes()[..piece.len() - hidden.map_or(0, char::len_utf8)])?;
                    for unit in hidden.into_iter().flat_map(|hidden| hidden.encode_utf16(&mut [0; 2]).to_vec()) {
                        write!(self.writer, "\\u{unit:04x}")?;
                    }
                }
            }
            _ => self.writer.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
