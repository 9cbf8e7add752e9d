INSERT INTO alerts_sink
SELECT
    tenant_id,
    CONCAT('{"id":"', MD5(CONCAT(fingerprint, ':', CAST(transition AS STRING))), '",', body)
FROM alert_news
