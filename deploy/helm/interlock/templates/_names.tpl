{{/* The name of all that belongs to this release. */}}
{{- define "interlock.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What its pods are selected by. Called with (dict "root" $ "part" "daemon"). */}}
{{- define "interlock.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* What all its objects are labelled with. The same. */}}
{{- define "interlock.labels" -}}
{{ include "interlock.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* The image, by its digest where there is one. */}}
{{- define "interlock.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The controller that nodes connect to; nothing for none. */}}
{{- define "interlock.controller" -}}
{{- if .Values.daemon.controller.address -}}
{{ .Values.daemon.controller.address }}
{{- else if .Values.controller.enabled -}}
{{ include "interlock.name" . }}-controller.{{ .Release.Namespace }}.svc:{{ .Values.controller.port }}
{{- end -}}
{{- end -}}

{{/* Where probes find the daemon, if not at the pod's address, which is the node's. */}}
{{- define "interlock.probeHost" -}}
{{- $address := trimAll "[]" .Values.daemon.metrics.address -}}
{{- if not (has $address (list "$(HOST_IP)" "0.0.0.0" "::")) -}}
, host: {{ $address | quote }}
{{- end -}}
{{- end -}}
