//! A page of Markdown: its code blocks, headings and links.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::blocks::{Block, Language};

/// The directory of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page.
pub struct Page {
    /// Its path below the root.
    pub path: PathBuf,
    /// Its code blocks.
    pub blocks: Vec<Block>,
    /// The anchors of its headings.
    pub anchors: Vec<String>,
    /// The targets of its links, with their lines.
    pub links: Vec<(usize, String)>,
}

impl Page {
    /// Reads README.md and the pages of docs/.
    pub fn all() -> Vec<Self> {
        let pages = names().into_iter().map(|name| Path::new("docs").join(name));
        pages.chain([PathBuf::from("README.md")]).map(Self::read).collect()
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::of(path, &text)
    }

    /// Parses a page.
    pub fn of(path: PathBuf, text: &str) -> Self {
        let mut page = Self { path, blocks: Vec::new(), anchors: Vec::new(), links: Vec::new() };
        let mut heading: Option<String> = None;
        let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES);
        for (event, range) in parser.into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => Language::of(&language),
                        CodeBlockKind::Indented => Ok(Language::Shell),
                    };
                    let place = format!("{}:{line}", page.path.display());
                    page.blocks.push(Block { place, language, text: String::new() });
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    } else if let Some(block) = page.blocks.last_mut().filter(|block| !block.text.ends_with('\0')) {
                        block.text.push_str(&part);
                    }
                }
                Event::End(TagEnd::CodeBlock) => page.end_block(),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(|text| anchor(&text))),
                Event::Start(Tag::Link { dest_url, .. }) => page.links.push((line, dest_url.into_string())),
                _ => {}
            }
        }
        page.blocks.iter_mut().for_each(|block| block.text = block.text.trim_end_matches('\0').to_owned());
        page
    }

    /// Marks the last block as complete, so that later text is not appended to it.
    fn end_block(&mut self) {
        self.blocks.last_mut().expect("a block begins before it ends").text.push('\0');
    }
}

/// The names of the pages in docs/, sorted.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("there is a docs directory").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".md"));
    names.sort();
    names
}

/// The anchor of a heading, as mdBook and GitHub derive it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn page_has_blocks_anchors_and_links() {
    let text = "# Who `runs` it?\n\nSee [that](other.md#a).\n\n```json host\n{}\n```\n\ntext\n\n    proxymgr status\n";
    let page = Page::of("p.md".into(), text);
    assert_eq!(page.anchors, ["who-runs-it"]);
    assert_eq!(page.links, [(3, "other.md#a".to_owned())]);
    let blocks: Vec<_> = page.blocks.iter().map(|block| (block.language.clone(), block.text.as_str())).collect();
    assert_eq!(blocks, [(Ok(Language::Host), "{}\n"), (Ok(Language::Shell), "proxymgr status\n")]);
}
