-- Token bucket of a tenant, by the clock of Redis: all processes share it, and none needs a clock like the others'.
-- KEYS[1] the bucket; ARGV: tokens a second, size, tokens wanted. Returns {1, 0}, or {0, milliseconds until enough}.
local rate, size, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local had = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(size, (tonumber(had[1]) or size) + math.max(0, now - (tonumber(had[2]) or now)) * rate / 1000)
local taken = tokens >= wanted
if taken then
    tokens = tokens - wanted
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.3f', tokens), 'at', string.format('%d', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(size / rate * 1000) + 1000)
if taken then
    return {1, 0}
end
return {0, math.ceil((wanted - tokens) / rate * 1000)}
