//! Writes the texts that the fuzzing begins with, as files below the folder of the first argument.

#[path = "../properties.rs"]
mod properties;

fn main() -> std::io::Result<()> {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).expect("the first argument is a folder"));
    for (number, (is_server, text)) in properties::seeds().iter().enumerate() {
        let folder = folder.join(if *is_server { "server_options" } else { "listen_line" });
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{number}")), text)?;
    }
    Ok(())
}
