-- A receiver names its secret by a file of delivery.secrets_dir, no longer by a variable of the environment: a file of the
-- variable's name is what stored receivers look for now.

UPDATE catalog.alert_policy
SET body = body - 'secret_env' || jsonb_build_object('secret_file', body -> 'secret_env')
WHERE kind = 'receiver' AND body ? 'secret_env';
