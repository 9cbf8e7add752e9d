-- Writes a live counter. Atomic in Redis, so that two writers cannot interleave between the check and the write.
-- KEYS[1]: the counter. ARGV: the figures (udfs.wire.COUNTER_WRITE), the latest event, and the status of the limit
-- (udfs.wire.LIMIT_STATUS): empty for no limit, `?` where limits are unknown: they stay as they are.
-- Returns 1 for written, 0 for refused because something newer is stored, -1 where the key is not a counter.
--
-- n and period_start stay below 2^53 (9 007 199 254 740 992), the largest range in which Lua's doubles are exact. The
-- figures come as one argument: most of the cost of a counter is the client putting arguments together (43 us a counter
-- with nine, 26 with one).
local stored = redis.pcall('HMGET', KEYS[1], 'period_start', 'n', 'revision')
if stored.err then return -1 end
local $figures = string.match(
  ARGV[1], '$figures_pattern')
local old_start, old_n = tonumber(stored[1] or ''), tonumber(stored[2] or '')
if old_start and old_n then
  local new_start, new_n = tonumber(period_start), tonumber(n)
  -- A counter that only shows a limit (n = 0) yields to usage of any period: readers take an ended one as zero.
  if new_start < old_start and old_n > 0 then return 0 end
  if new_start == old_start then
    if new_n < old_n then return 0 end
    -- Of two equal totals the one with newer limits is news.
    local old_revision, new_revision = tonumber(stored[3] or '-1'), tonumber(revision)
    if new_n == old_n and (new_revision < old_revision or (new_revision == old_revision and strict == '1')) then
      return 0
    end
  end
end
redis.call('HSET', KEYS[1], 'period_start', period_start, 'period_end', period_end, 'n', n, 'samples', samples,
  'total', total, 'lo', lo, 'hi', hi, 'latest', ARGV[2], 'updated_at', now_ms)
if ARGV[3] ~= '?' then
  local $status = string.match(
    ARGV[3], '$status_pattern')
  if limit then
    redis.call('HSET', KEYS[1], $status_pairs, 'used', total, 'revision', revision)
    -- The limit that the job has compared the total with; a copy of a total (strict) must not claim that it was.
    if strict == '0' then redis.call('HSET', KEYS[1], 'watched', rule) end
  else
    redis.call('HSET', KEYS[1], 'revision', revision)
    if stored[3] then
      redis.call('HDEL', KEYS[1], $status_names, 'used')
      if strict == '0' then redis.call('HDEL', KEYS[1], 'watched') end
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ttl_ms)
return 1
