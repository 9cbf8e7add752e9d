-- The number of a transition is state, and begins anew when the state has expired. The fingerprint of a limit names the
-- period, which is over by then; a condition of the pipeline has no period, so its id names the instant as well.
INSERT INTO ${into}alerts_sink
SELECT
    tenant_id,
    CONCAT(
        '{"id":"',
        MD5(CONCAT(
            fingerprint, ':', CAST(transition AS STRING),
            CASE WHEN tenant_id = '' THEN CONCAT(':', JSON_VALUE(CONCAT('{', body), '$$.time')) ELSE '' END
        )),
        '",',
        body
    )
FROM alert_news
