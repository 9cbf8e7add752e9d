-- What the sliding windows are made of: what adds up, of minutes that a window may hold that is still written. It is left out
-- before the minutes are cut, so that loading history costs no windows.
SELECT tenant_id, customer_id, meter, `minute`, n, total
FROM deltas_for_sliding
WHERE part = '' AND $recent
    AND $valid
