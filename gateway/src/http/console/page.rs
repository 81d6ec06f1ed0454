//! The console: a page for operators. Its files are nobody's secret; whatever it shows it asks for with the token.

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;

use crate::http::web::one_page;

/// `/console/` and what it loads.
pub(in crate::http) fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    // What the page loads it names relative to this.
    let redirect = get(|| async { Redirect::permanent("/console/") });
    one_page("console/index.html", "/console/").route("/console", redirect).with_state(())
}
