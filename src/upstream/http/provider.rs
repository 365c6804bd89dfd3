//! x
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use crate::upstream::base::Base;
use crate::upstream::health::Health;
use crate::mcp::*;
pub(in crate::upstream) struct HttpUpstream { base: Arc<Base> }
impl HttpUpstream {
    pub(in crate::upstream) fn start(base: Arc<Base>, _c: (), _u: &str, _h: &[(String,String)], _s: CancellationToken, _t: TaskTracker) -> Arc<HttpUpstream> { Arc::new(HttpUpstream{base}) }
    pub(in crate::upstream) fn health(&self) -> Health { self.base.health("http", vec![], 0) }
}
impl Provider for HttpUpstream {
    fn name(&self) -> &str { self.base.name() }
    fn catalog(&self, era: Era) -> Option<tokio::sync::watch::Receiver<Arc<Catalog>>> { self.base.stock.watch(era) }
    fn events(&self) -> tokio::sync::broadcast::Receiver<Event> { self.base.events.subscribe() }
    fn serve<'a>(&'a self, _r: &'a Request, _c: &'a Caller, _l: &'a Link) -> Served<'a> { Box::pin(async { Err(Fault::internal("x")) }) }
    fn notify(&self, _n: &Notification, _c: &Caller) {}
    fn session_ended(&self, _k: &str) {}
}
