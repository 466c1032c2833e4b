//! The reload: the configuration read anew.
//!
//! Owns the handler, and that there is one reload at a time which ends also when nobody waits for it.
//! What a reload does is given from above. Read [`crate::admin::Reload`].

use std::sync::Arc;

use actix_web::{HttpRequest, web};

use super::request::{Change, body};
use super::view::Reloaded;
use super::{Shared, endpoints, status};
use crate::admin;
use crate::admin::problem::Problem;
use crate::domain::names::Name;

/// Reads the configuration anew and goes on with it. Endpoints that it does not change are not
/// disturbed. One that cannot be used changes nothing.
#[utoipa::path(post, path = "/api/reload", tag = "instance",
    responses(
        (status = 200, description = "What has changed.", body = Reloaded),
        (status = 409, description = "A reload is under way.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The new configuration cannot be used, and why.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn reload(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Reloaded>, Problem> {
    let _: endpoints::Nothing = body(payload).await?;
    let change = Change::new("reload", &request);
    let done = once(&shared).await;
    let about = done.as_ref().map(|done| {
        let (added, removed) = (done.added.len(), done.removed.len());
        format!("{added} added, {removed} removed, {} changed", done.changed.len())
    });
    change.came_to(None, about);
    let done = done?;
    let names = |names: Vec<Name>| names.iter().map(Name::to_string).collect();
    Ok(web::Json(Reloaded {
        added: names(done.added),
        removed: names(done.removed),
        changed: names(done.changed),
        unchanged: done.unchanged,
        configuration: status::short(&done.digest),
    }))
}

async fn once(shared: &Shared) -> Result<admin::Reloaded, Problem> {
    let only = Arc::clone(&shared.0.reloading).try_lock_owned();
    let only = only.map_err(|_| Problem::conflict("a reload is under way"))?;
    let reloading = (shared.reload)();
    let task = shared.orders.home().spawn(async move {
        let _only = only;
        reloading.await
    });
    let lost = |_| Problem::unavailable("the reload ended without a word; the log says why");
    Ok(task.await.map_err(lost)??)
}
