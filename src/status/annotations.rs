//! `/annotations/{service}`: additions to service definitions, shared by all managers.

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

/// Store of annotations.
pub trait AnnotationStore: Send + Sync {
    /// Reads the annotation of one service, or all; by service.
    fn read(&self, service: Option<ServiceName>) -> Asked<'_, Result<BTreeMap<String, Stored>, Problem>>;
    /// Replaces the annotation of a service.
    fn write(&self, service: ServiceName, text: String) -> Asked<'_, Result<(), Problem>>;
    /// Deletes the annotation of a service.
    fn delete(&self, service: ServiceName) -> Asked<'_, Result<(), Problem>>;
}

/// An annotation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its text. It may have been written by other programs.
    pub text: Arc<str>,
    /// Where it is stored.
    pub origin: Arc<str>,
}

/// An annotation with its mistakes.
#[derive(Debug, Serialize)]
struct Shown {
    service: String,
    /// None if it is not a JSON object.
    annotation: Option<Value>,
    origin: Arc<str>,
    /// Its mistakes.
    mistakes: Vec<String>,
}

/// All annotations.
#[derive(Debug, Serialize)]
struct List {
    annotations: Vec<Shown>,
}

/// Gives the handlers access to the store.
pub fn part(store: Arc<dyn AnnotationStore>) -> Part {
    Part::new(move |config: &mut ServiceConfig| {
        config.app_data(Data::from(Arc::clone(&store)));
    })
}

type Store = Option<Data<dyn AnnotationStore>>;
type Answer = Result<HttpResponse, Problem>;

/// `GET /annotations`.
pub async fn list(_: Query<NoQuery>, store: Store) -> Answer {
    let known = enabled(&store)?.read(None).await?;
    Ok(HttpResponse::Ok().json(List { annotations: known.into_iter().map(shown).collect() }))
}

/// `GET /annotations/{service}`.
pub async fn one(_: Query<NoQuery>, store: Store, service: Path<String>) -> Answer {
    let known = enabled(&store)?.read(Some(name(&service)?)).await?;
    let known = known.into_iter().next().map(shown);
    let known = known.ok_or_else(|| Problem::not_found(format!("service {service} has no annotation")))?;
    Ok(HttpResponse::Ok().json(known))
}

/// `POST /annotations/{service}`.
pub async fn write(_: Query<NoQuery>, store: Store, service: Path<String>, body: Bytes) -> Answer {
    let service = name(&service)?;
    let text =
        str::from_utf8(&body).map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?;
    let keys = annotation::read(text).map_err(|mistakes| Problem::bad_request(mistakes.join("; ")))?;
    enabled(&store)?.write(service.clone(), Value::Object(keys).to_string()).await?;
    let done = format!("annotation of {service} written; if it cannot be applied, the status shows why");
    Ok(HttpResponse::Ok().json(Done { done }))
}

/// `DELETE /annotations/{service}`.
pub async fn delete(_: Query<NoQuery>, store: Store, service: Path<String>) -> Answer {
    let service = name(&service)?;
    enabled(&store)?.delete(service.clone()).await?;
    Ok(HttpResponse::Ok().json(Done { done: format!("annotation of {service} deleted") }))
}

fn enabled(store: &Store) -> Result<&Data<dyn AnnotationStore>, Problem> {
    let disabled = || Problem::not_found("annotations are not enabled: set annotations.path and restart proxymgr");
    store.as_ref().ok_or_else(disabled)
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
