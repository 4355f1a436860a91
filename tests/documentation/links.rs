//! Links between pages, and to files of the project.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::page::{Page, names, root};

/// What pages may link to outside of docs/: `make docs-site` copies it beside the site.
const BESIDE_THE_SITE: [&str; 2] = ["config/", "src/status/api/openapi.json"];

/// Returns all links that lead nowhere, with page and line.
pub fn broken(pages: &[Page]) -> Vec<String> {
    let links = pages.iter().flat_map(|page| page.links.iter().map(move |(line, link)| (page, line, link)));
    let local = links.filter(|(_, _, link)| !link.contains("://") && !link.starts_with("mailto:"));
    let found = local.filter_map(|(page, line, link)| {
        let reason = problem(page, link, pages)?;
        Some(format!("{}:{line}: {link}: {reason}", page.path.display()))
    });
    found.collect()
}

fn problem(page: &Page, link: &str, pages: &[Page]) -> Option<String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { page.path.clone() } else { normal(&page.path.with_file_name(file)) };
    let target = pages.iter().find(|page| page.path == path);
    if target.is_none() && !root().join(&path).exists() {
        return Some("there is no such file".to_owned());
    }
    if let Some(anchor) = anchor {
        let known = target.map_or(&[] as &[String], |page| &page.anchors);
        return (!known.iter().any(|known| known == anchor)).then(|| format!("its headings are {known:?}"));
    }
    let is_on_the_site = target.is_some() && path.starts_with("docs")
        || BESIDE_THE_SITE.iter().any(|place| path.to_string_lossy().starts_with(place))
            && path.extension().is_some_and(|e| e != "md");
    (page.path.starts_with("docs") && !is_on_the_site).then(|| "it is not on the site".to_owned())
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => _ = normal.pop(),
            part => normal.push(part),
        }
        normal
    })
}

/// Returns the pages of docs/ that SUMMARY.md does not list.
pub fn missing_in_summary() -> Vec<String> {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("there is a summary");
    names().into_iter().filter(|name| name != "SUMMARY.md" && !summary.contains(&format!("({name})"))).collect()
}

#[test]
fn broken_links_are_found() {
    let text = "[a](b.md) [b](#nowhere) [c](../Cargo.toml) [d](https://example.org) [e](#here) [f](services.md#none)\n\n# Here\n";
    let pages = [Page::of("docs/a.md".into(), text), Page::of("docs/services.md".into(), "# Services\n")];
    let found = broken(&pages);
    let links = Vec::from_iter(found.iter().filter_map(|line| line.split(": ").nth(1)));
    assert_eq!(links, ["b.md", "#nowhere", "../Cargo.toml", "services.md#none"], "{found:?}");
}
