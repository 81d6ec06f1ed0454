//! Spans in the messages of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use gateway_core::metrics::VERSION;
use gateway_core::traces::{Finished, Kind, Trace, Value};

/// What all spans of a node have in common.
pub(super) fn resource(service: &str, node: &str) -> Resource {
    let text = |text: &str| Value::Text(text.to_owned().into());
    let attributes = [
        ("service.name", text(service)),
        ("service.version", text(VERSION)),
        // Nodes of a deployment have names of their own.
        ("service.instance.id", text(node)),
    ];
    Resource { attributes: attributes.into_iter().map(attribute).collect(), ..Resource::default() }
}

/// The body of a request that hands spans over.
pub(super) fn body(resource: &Resource, spans: impl IntoIterator<Item = Finished>) -> Vec<u8> {
    let scope =
        InstrumentationScope { name: "gateway".into(), version: VERSION.into(), ..InstrumentationScope::default() };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource = Some(resource.clone());
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span(finished: Finished) -> Span {
    let Finished { trace, parent, kind, name, began, ended, attributes, links, error } = finished;
    let status = error.map(|why| Status { message: why.into_owned(), code: StatusCode::Error.into() });
    Span {
        trace_id: trace.id().to_be_bytes().to_vec(),
        span_id: trace.span().to_be_bytes().to_vec(),
        trace_state: trace.state().unwrap_or_default().to_owned(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: trace.flags().into(),
        name: name.into_owned(),
        kind: kind_of(kind).into(),
        start_time_unix_nano: nanoseconds(began),
        end_time_unix_nano: nanoseconds(ended),
        attributes: attributes.into_iter().map(attribute).collect(),
        links: links.iter().map(link).collect(),
        status,
        ..Span::default()
    }
}

fn link(trace: &Trace) -> Link {
    Link {
        trace_id: trace.id().to_be_bytes().to_vec(),
        span_id: trace.span().to_be_bytes().to_vec(),
        trace_state: trace.state().unwrap_or_default().to_owned(),
        flags: trace.flags().into(),
        ..Link::default()
    }
}

fn kind_of(kind: Kind) -> SpanKind {
    match kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
        Kind::Internal => SpanKind::Internal,
    }
}

fn attribute((key, value): (&str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyOf::StringValue(text.into_owned()),
        Value::Number(number) => AnyOf::IntValue(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
