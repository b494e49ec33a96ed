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

{{- /* The operator, as the API server knows it. */ -}}
{{- define "tenantry.operator.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:tenantry-operator
{{- end }}

{{- /* Metadata of an admission policy or its binding. Call with a dict: root, name. Kept when the chart goes: the tenants stay,
and so must what shields them. */ -}}
{{- define "tenantry.policy.metadata" -}}
name: {{ .name }}
labels:
  {{- include "tenantry.labels" (dict "root" .root "component" "policy") | nindent 2 }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}

{{- /* Conditions under which a policy looks at a request: whoever makes it is neither the operator nor of the cluster's own,
nor of a group that the platform team exempts. */ -}}
{{- define "tenantry.policy.everybodyElse" -}}
- name: not-the-operator
  expression: request.userInfo.username != '{{ include "tenantry.operator.user" . }}'
- name: not-the-clusters-own
  expression: >-
    !(request.userInfo.username in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler'])
- name: not-of-an-exempt-group
  expression: >-
    !has(request.userInfo.groups) || !request.userInfo.groups.exists(group, group in [
    'system:masters', 'system:nodes', 'system:serviceaccounts:kube-system'
    {{- range .Values.policies.exemptGroups }}, '{{ . }}'{{ end }}])
{{- end }}
