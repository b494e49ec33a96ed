{{- /* Labels that select the pods of one component. Call with a dict: root, component. */ -}}
{{- define "tenantry.selector" -}}
app.kubernetes.io/name: tenantry
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Labels of every object of the chart. Call with a dict: root, component. */ -}}
{{- define "tenantry.labels" -}}
{{ include "tenantry.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "tenantry.operator.labels" -}}
{{ include "tenantry.labels" (dict "root" . "component" "operator") }}
{{- end }}

{{- define "tenantry.operator.selector" -}}
{{ include "tenantry.selector" (dict "root" . "component" "operator") }}
{{- end }}

{{- define "tenantry.postgresql.labels" -}}
{{ include "tenantry.labels" (dict "root" . "component" "postgresql") }}
{{- end }}

{{- define "tenantry.postgresql.selector" -}}
{{ include "tenantry.selector" (dict "root" . "component" "postgresql") }}
{{- end }}

{{- /* Name of the Secret with the admin login of the trial server. */ -}}
{{- define "tenantry.postgresql.secret" -}}
{{ .Values.postgresql.existingSecret | default "tenantry-postgresql-admin" }}
{{- end }}
