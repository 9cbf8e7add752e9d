{{- define "tidemark.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "tidemark.labels" -}}
app.kubernetes.io/name: tidemark
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Selects the pods of a component: (list $ "component"). */ -}}
{{- define "tidemark.selector" -}}
app.kubernetes.io/name: tidemark
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "tidemark.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "tidemark.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{- /* (list $ .Values.image.x) */ -}}
{{- define "tidemark.image" -}}
{{- $root := index . 0 }}{{- $image := index . 1 -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "tidemark.podSecurity" -}}
runAsNonRoot: true
runAsUser: 9999
runAsGroup: 9999
fsGroup: 9999
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tidemark.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the settings file says: the chart's part, and over it `settings`. */ -}}
{{- define "tidemark.settings" -}}
{{- $name := include "tidemark.name" . -}}
{{- $own := dict
  "postgres" (dict "passfile" "/run/tidemark/pgpass")
  "redis" (dict "password_file" "/etc/tidemark/redis-services/password" "meter_password_file" "/etc/tidemark/redis-meter/password")
  "flink" (dict "rest_url" (printf "http://%s-%s:8081" $name (ternary "rest" "jobmanager" (eq .Values.flink.mode "operator"))) "conf_dir" "/opt/flink/conf" "lib_dir" "/opt/flink/lib")
  "serve" (dict "listen" "0.0.0.0:9464")
  "health" (dict "jobs" .Values.jobs)
  "api" (dict "listen" "0.0.0.0:8080")
  "web" (dict "listen" "0.0.0.0:8090") -}}
{{- with .Values.secrets.kafka }}
{{- $kafka := dict }}
{{- if .operator }}{{- $_ := set $kafka "sasl_password_file" "/run/tidemark/operator.properties" }}{{- end }}
{{- if .meter }}{{- $_ := set $kafka "jobs_dir" "/run/tidemark" }}{{- end }}
{{- if .ca }}{{- $_ := set $kafka "ssl_ca_file" "/etc/tidemark/kafka-ca/ca.crt" }}{{- end }}
{{- $_ := set $own "kafka" $kafka }}
{{- end }}
{{- if .Values.secrets.s3 }}{{- $_ := set $own "s3" (dict "credentials_file" "/etc/tidemark/s3/credentials") }}{{- end }}
{{- if .Values.secrets.receivers }}{{- $_ := set $own "delivery" (dict "secrets_dir" "/etc/tidemark/receivers") }}{{- end }}
{{- if .Values.secrets.web }}{{- $_ := set $own.web "secret_file" "/etc/tidemark/web/secret" }}{{- end }}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.settings)) }}
{{- end }}

{{- /* Secrets of a pod, by the folder they are mounted at: (list $ logins). */ -}}
{{- define "tidemark.secrets" -}}
{{- $secrets := (index . 0).Values.secrets }}{{- $logins := index . 1 }}{{- $mounted := dict }}
{{- range $kind := list "postgres" "redis" "kafka" }}
{{- range $login := index $logins $kind }}
{{- with index $secrets $kind $login }}{{- $_ := set $mounted (printf "%s-%s" $kind $login) . }}{{- end }}
{{- end }}
{{- end }}
{{- with $secrets.kafka.ca }}{{- $_ := set $mounted "kafka-ca" . }}{{- end }}
{{- range $name, $secret := $secrets.files }}{{- $_ := set $mounted (printf "files-%s" $name) $secret }}{{- end }}
{{- if and $logins.s3 $secrets.s3 }}{{- $_ := set $mounted "s3" $secrets.s3 }}{{- end }}
{{- if and $logins.receivers $secrets.receivers }}{{- $_ := set $mounted "receivers" $secrets.receivers }}{{- end }}
{{- if and $logins.web $secrets.web }}{{- $_ := set $mounted "web" $secrets.web }}{{- end }}
{{- toYaml $mounted }}
{{- end }}

{{- /* Volumes of a pod: (list $ logins settingsConfigMap). */ -}}
{{- define "tidemark.volumes" -}}
- name: settings
  configMap: {name: {{ index . 2 }}}
- name: run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- range $folder, $secret := include "tidemark.secrets" . | fromYaml }}
- name: {{ $folder }}
  secret: {secretName: {{ $secret }}}
{{- end }}
{{- end }}

{{- define "tidemark.mounts" -}}
- {name: settings, mountPath: /etc/tidemark/settings, readOnly: true}
- {name: run, mountPath: /run/tidemark}
- {name: tmp, mountPath: /tmp}
{{- range $folder, $_ := include "tidemark.secrets" . | fromYaml }}
- {name: {{ $folder }}, mountPath: /etc/tidemark/{{ $folder }}, readOnly: true}
{{- end }}
{{- end }}

{{- /* libpq takes only a password file that nobody else may read, which a mounted Secret with an fsGroup is not; Java takes a
       password of Kafka from a properties file. (list $ logins image) */ -}}
{{- define "tidemark.initPasswords" -}}
{{- $root := index . 0 }}
- name: passwords
  image: {{ include "tidemark.image" (list $root (index . 2)) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command:
    - /bin/sh
    - -euc
    - |
      umask 077
      for file in /etc/tidemark/postgres-*/pgpass; do [ ! -r $file ] || { cat $file; echo; }; done > /run/tidemark/pgpass
      kafka() { [ ! -r /etc/tidemark/kafka-$1/password ] || printf "$2password=%s\n" "$(cat /etc/tidemark/kafka-$1/password)" > /run/tidemark/$1.properties; }
      {{- range $login := index (index . 1) "kafka" }}
      kafka {{ $login }} '{{ if has $login (list "meter" "rollup" "anomaly") }}username={{ index $root.Values.kafkaUsers $login | default (printf "tidemark-%s" $login) }}\n{{ end }}'
      {{- end }}
  securityContext: {{- include "tidemark.containerSecurity" . | nindent 4 }}
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
  volumeMounts: {{- include "tidemark.mounts" . | nindent 4 }}
{{- end }}

{{- define "tidemark.environment" -}}
- {name: TIDEMARK_CONFIG, value: /etc/tidemark/settings/settings.yaml}
- {name: PGPASSFILE, value: /run/tidemark/pgpass}
- {name: HOME, value: /tmp}
- {name: TZ, value: UTC}
{{- if .Values.secrets.s3 }}
- {name: AWS_CREDENTIAL_PROFILES_FILE, value: /etc/tidemark/s3/credentials}
{{- end }}
{{- with .Values.settings.s3 }}
{{- with .region }}
- {name: AWS_REGION, value: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* Two of a component are not on one node where there are more. */ -}}
{{- define "tidemark.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "tidemark.selector" . | nindent 6 }}
{{- end }}

{{- /* Whose secrets Flink's pods have. */ -}}
{{- define "tidemark.flinkLogins" -}}
{{- dict "postgres" (list "writer") "redis" (list "meter") "kafka" (list "operator" "meter" "rollup" "anomaly") "s3" true | toYaml }}
{{- end }}

{{- /* What a pod of Flink is beside its container, whoever makes it: (list $ component). */ -}}
{{- define "tidemark.flinkPod" -}}
{{- $root := index . 0 }}{{- $component := index . 1 }}{{- $isJob := eq $component "jobmanager" }}
{{- $logins := include "tidemark.flinkLogins" $root | fromYaml }}
{{- $scratch := $root.Values.flink.taskManager.scratch -}}
enableServiceLinks: false
securityContext: {{- include "tidemark.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints: {{- include "tidemark.spread" . | nindent 2 }}
{{- with $root.Values.flink.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.flink.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
initContainers: {{- include "tidemark.initPasswords" (list $root $logins $root.Values.image.flink) | nindent 2 }}
volumes:
  {{- include "tidemark.volumes" (list $root $logins (printf "%s-settings" (include "tidemark.name" $root))) | nindent 2 }}
  {{- if and (not $isJob) $scratch.storageClassName }}
  - name: tmp
    ephemeral:
      volumeClaimTemplate:
        spec:
          accessModes: [ReadWriteOnce]
          storageClassName: {{ $scratch.storageClassName }}
          resources: {requests: {storage: {{ $scratch.size }}}}
  {{- else }}
  - {name: tmp, emptyDir: {sizeLimit: {{ ternary "1Gi" $scratch.size $isJob }}}}
  {{- end }}
  {{- with $root.Values.flink.stateClaim }}
  - {name: state, persistentVolumeClaim: {claimName: {{ . }}}}
  {{- end }}
{{- end }}

{{- /* What Flink's containers mount. */ -}}
{{- define "tidemark.flinkMounts" -}}
{{- include "tidemark.mounts" (list . (include "tidemark.flinkLogins" . | fromYaml)) }}
{{- if .Values.flink.stateClaim }}
- {name: state, mountPath: /var/lib/tidemark}
{{- end }}
{{- end }}

{{- /* Options of Flink, over those of the image. */ -}}
{{- define "tidemark.flinkConfig" -}}
{{- $name := include "tidemark.name" . }}{{- $state := .Values.settings.flink.state_dir | trimSuffix "/" -}}
{{- $own := dict
  "taskmanager.numberOfTaskSlots" (.Values.flink.taskManager.slots | toString)
  "jobmanager.memory.process.size" (.Values.flink.jobManager.resources.limits.memory | replace "Gi" "g" | replace "Mi" "m")
  "taskmanager.memory.process.size" (.Values.flink.taskManager.resources.limits.memory | replace "Gi" "g" | replace "Mi" "m")
  "execution.checkpointing.dir" (printf "%s/checkpoints" $state)
  "execution.checkpointing.savepoint-dir" (printf "%s/savepoints" $state)
  "metrics.internal.query-service.port" "6125"
  "web.access-control-allow-origin" (printf "http://%s-jobmanager:8081" $name) -}}
{{- with .Values.settings.s3 }}
{{- with .endpoint }}{{- $_ := set $own "s3.endpoint" . }}{{- $_ := set $own "s3.path.style.access" "true" }}{{- end }}
{{- with .region }}{{- $_ := set $own "s3.endpoint.region" . }}{{- end }}
{{- end }}
{{- if .Values.flink.highAvailability }}
{{- /* Any free port else, which the NetworkPolicy closes. */}}
{{- $_ := set $own "high-availability.jobmanager.port" "6123" }}
{{- $_ := set $own "high-availability.storageDir" (printf "%s/ha" $state) }}
{{- $s := int .Values.flink.failoverS }}
{{- if .Values.flink.zookeeper }}
{{- $client := "high-availability.zookeeper.client" }}
{{- $_ := set $own "high-availability.type" "zookeeper" }}
{{- $_ := set $own "high-availability.zookeeper.quorum" .Values.flink.zookeeper }}
{{- $_ := set $own "high-availability.cluster-id" (printf "/%s/%s" .Release.Namespace $name) }}
{{- $_ := set $own (printf "%s.session-timeout" $client) (printf "%ds" $s) }}
{{- $_ := set $own (printf "%s.connection-timeout" $client) (printf "%ds" $s) }}
{{- $_ := set $own (printf "%s.tolerate-suspended-connections" $client) "true" }}
{{- else }}
{{- $election := "high-availability.kubernetes.leader-election" }}
{{- $_ := set $own "high-availability.type" "kubernetes" }}
{{- $_ := set $own "kubernetes.cluster-id" $name }}
{{- $_ := set $own "kubernetes.namespace" .Release.Namespace }}
{{- $_ := set $own (printf "%s.lease-duration" $election) (printf "%ds" $s) }}
{{- $_ := set $own (printf "%s.renew-deadline" $election) (printf "%dms" (mul $s 800)) }}
{{- $_ := set $own (printf "%s.retry-period" $election) (printf "%dms" (mul $s 150)) }}
{{- end }}
{{- end }}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.flink.config)) }}
{{- end }}
