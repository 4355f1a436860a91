//! Style, script and icon of the page, compiled in. Their paths contain a digest of their content, so that browsers can
//! cache them for ever and never combine a new page with an old style.

use std::hash::{DefaultHasher, Hasher};

use actix_web::http::header::{self, CacheControl, CacheDirective};
use actix_web::web::Path;
use actix_web::{HttpResponse, http::StatusCode};
use minijinja::{Error, ErrorKind};

/// Cache life time in seconds: a year.
const MAX_AGE_S: u32 = 365 * 24 * 60 * 60;

struct Asset {
    name: &'static str,
    extension: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "page",
        extension: "css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("assets/page.css"),
    },
    Asset {
        name: "page",
        extension: "js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("assets/page.js"),
    },
    Asset { name: "icon", extension: "svg", content_type: "image/svg+xml", text: include_str!("assets/icon.svg") },
];

impl Asset {
    fn file_name(&self) -> String {
        format!("{}.{}.{}", self.name, digest(self.text), self.extension)
    }
}

/// Path of an asset by its name, such as `page.css`.
pub fn path_of(name: &str) -> Result<String, Error> {
    let asset = ASSETS.iter().find(|asset| format!("{}.{}", asset.name, asset.extension) == name);
    let asset = asset.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("no asset {name}")))?;
    Ok(format!("/assets/{}", asset.file_name()))
}

/// Identifies the version of all assets.
pub fn version() -> String {
    ASSETS.iter().map(Asset::file_name).collect::<Vec<_>>().join(" ")
}

/// `GET /assets/{name}`.
pub async fn serve(name: Path<String>) -> HttpResponse {
    let Some(asset) = ASSETS.iter().find(|asset| asset.file_name() == *name) else {
        return HttpResponse::build(StatusCode::NOT_FOUND).content_type("text/plain").body("no such asset\n");
    };
    HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header(CacheControl(vec![
            CacheDirective::Public,
            CacheDirective::MaxAge(MAX_AGE_S),
            CacheDirective::Extension("immutable".to_owned(), None),
        ]))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(asset.text)
}

/// Digest of a text, stable for builds with the same compiler.
fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    format!("{:016x}", hasher.finish())
}
