{{/* Names, labels, and what is computed from values. */}}
{{- define "gateway.name" -}}{{ default "gateway" .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "gateway.name" .) .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "gateway.name" .) | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What never changes: selectors of a Deployment cannot. The component keeps nodes apart from HAProxy and from the test. */}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "gateway.selector.haproxy" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: haproxy
{{- end }}

{{- define "gateway.selector.test" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{/* Of pods: nothing that a new chart with the same program changes, or all clients would be moved for it. */}}
{{- define "gateway.podLabels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Of what is no pod. */}}
{{- define "gateway.labels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gateway.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- define "gateway.secret" -}}{{ default (include "gateway.fullname" .) .Values.existingSecret }}{{- end }}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* preStop, the drain, and what a node needs to end after that. */}}
{{- define "gateway.grace" -}}
{{- $computed := add .Values.drain.preStopSeconds .Values.drain.timeoutSeconds 15 }}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}{{ $computed }}{{ else }}{{ int .Values.terminationGracePeriodSeconds }}{{ end }}
{{- end }}

{{/* A quantity of memory in bytes, as Kubernetes counts: 2Gi, 1500M, 2147483648. */}}
{{- define "gateway.bytes" -}}
{{- $powers := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- $text := ternary (printf "%.0f" (float64 .)) (toString .) (kindIs "float64" .) }}
{{- $unit := regexFind "[a-zA-Z]+$" $text }}
{{- mulf (float64 (trimSuffix $unit $text)) (ternary 1.0 (get $powers $unit) (empty $unit)) | int64 }}
{{- end }}

{{/* A value in TOML. Helm's numbers are floats where they come from YAML, and the gateway wants whole ones. */}}
{{- define "gateway.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ $key }} = {{ include "gateway.toml.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "gateway.toml.value" $item }}{{ end }}]
{{- else if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- else -}}
{{ toJson . }}
{{- end }}
{{- end }}

{{- define "gateway.toml" -}}
listen = "{{ ternary "[::]" "0.0.0.0" .Values.ipv6 }}:3000"
admin_listen = "{{ ternary "[::]" "0.0.0.0" .Values.ipv6 }}:9100"
trusted_proxies = {{ include "gateway.toml.value" .Values.trustedProxies }}
{{- range $key := keys .Values.config | sortAlpha }}
{{- $value := get $.Values.config $key }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "gateway.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $section := keys (unset (deepCopy .Values.config) "telemetry") | sortAlpha }}
{{- $values := get $.Values.config $section }}
{{- if kindIs "map" $values }}

[{{ $section }}]
{{- range $key := keys $values | sortAlpha }}
{{ $key }} = {{ include "gateway.toml.value" (get $values $key) }}
{{- end }}
{{- end }}
{{- end }}

[drain]
timeout = "{{ .Values.drain.timeoutSeconds }}s"
connections_per_second = {{ .Values.drain.connectionsPerSecond }}

[telemetry]
format = "json"
{{- $telemetry := .Values.config.telemetry | default dict }}
{{- range $key := keys $telemetry | sortAlpha }}
{{ $key }} = {{ include "gateway.toml.value" (get $telemetry $key) }}
{{- end }}
{{ with .Values.routes }}
{{ trim . }}
{{ end }}
{{- end }}
