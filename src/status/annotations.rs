//! `/annotations/{service}`: what is added to services' definitions, for all managers that share them.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path, Query, ServiceConfig};
use proxymgr_actors::decide::annotation;
use proxymgr_actors::limits::QUOTED_VALUE_CHARS_MAX;
use proxymgr_actors::model::ServiceName;
use serde::Serialize;
use serde_json::Value;

use super::api::{Done, NoQuery};
use super::part::Part;
use super::problem::Problem;
use super::view::Asked;

/// Where annotations are kept.
pub trait AnnotationStore: Send + Sync {
    /// Those in force, by the service: of one, or of all.
    fn read(&self, service: Option<ServiceName>) -> Asked<'_, Result<BTreeMap<String, Stored>, Problem>>;
    /// Puts this annotation in the place of the service's.
    fn write(&self, service: ServiceName, text: String) -> Asked<'_, Result<(), Problem>>;
    /// Deletes the service's annotation.
    fn delete(&self, service: ServiceName) -> Asked<'_, Result<(), Problem>>;
}

/// An annotation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its text, which somebody may have written past us.
    pub text: Arc<str>,
    /// Where it stands.
    pub origin: Arc<str>,
}

/// An annotation as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    service: String,
    /// None where it is no JSON object.
    annotation: Option<Value>,
    origin: Arc<str>,
    /// What is wrong with it.
    mistakes: Vec<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct List {
    annotations: Vec<Shown>,
}

/// Puts the store before the handlers.
pub fn part(store: Arc<dyn AnnotationStore>) -> Part {
    Part::new(move |config: &mut ServiceConfig| {
        config.app_data(Data::from(Arc::clone(&store)));
    })
}

type Store = Option<Data<dyn AnnotationStore>>;
type Answer = Result<HttpResponse, Problem>;

/// `GET /annotations`.
pub async fn list(_: Query<NoQuery>, store: Store) -> Answer {
    let known = there(&store)?.read(None).await?;
    Ok(HttpResponse::Ok().json(List { annotations: known.into_iter().map(shown).collect() }))
}

/// `GET /annotations/{service}`.
pub async fn one(_: Query<NoQuery>, store: Store, service: Path<String>) -> Answer {
    let known = there(&store)?.read(Some(name(&service)?)).await?;
    let known = known.into_iter().next().map(shown);
    let known = known.ok_or_else(|| Problem::not_found(format!("the service {service} has no annotation")))?;
    Ok(HttpResponse::Ok().json(known))
}

/// `POST /annotations/{service}`.
pub async fn write(_: Query<NoQuery>, store: Store, service: Path<String>, body: Bytes) -> Answer {
    let service = name(&service)?;
    let text = str::from_utf8(&body).map_err(|error| Problem::bad_request(format!("the body is no text: {error}")))?;
    let keys = annotation::read(text).map_err(|mistakes| Problem::bad_request(mistakes.join("; ")))?;
    there(&store)?.write(service.clone(), Value::Object(keys).to_string()).await?;
    let done = format!("the annotation of {service} is written; status names it if {service} cannot have it");
    Ok(HttpResponse::Ok().json(Done { done }))
}

/// `DELETE /annotations/{service}`.
pub async fn delete(_: Query<NoQuery>, store: Store, service: Path<String>) -> Answer {
    let service = name(&service)?;
    there(&store)?.delete(service.clone()).await?;
    Ok(HttpResponse::Ok().json(Done { done: format!("the annotation of {service} is deleted") }))
}

fn there(store: &Store) -> Result<&Data<dyn AnnotationStore>, Problem> {
    let off = || Problem::not_found("there are no annotations here: set annotations.path, and restart proxymgr");
    store.as_ref().ok_or_else(off)
}

fn name(text: &str) -> Result<ServiceName, Problem> {
    ServiceName::new(text).map_err(|error| Problem::bad_request(error.to_string()))
}

fn shown((service, stored): (String, Stored)) -> Shown {
    let annotation = serde_json::from_str(&stored.text).ok().filter(Value::is_object);
    let mistakes = annotation::read(&stored.text).err().unwrap_or_default();
    let short = |mistake: String| mistake.chars().take(4 * QUOTED_VALUE_CHARS_MAX).collect();
    Shown { service, annotation, origin: stored.origin, mistakes: mistakes.into_iter().map(short).collect() }
}
