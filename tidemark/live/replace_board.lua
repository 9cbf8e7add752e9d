-- Replaces a leaderboard whole or not at all, and never by an older window. KEYS: the sorted set, and the hash of its
-- window. ARGV: end of the window, life in ms, number of customers, then score and customer of each, then the fields of
-- the hash. The scores are doubles: the totals to the last digit are in the hash.
-- Returns 1 for written, 0 for refused because a later window is stored.
local stored = redis.pcall('HGET', KEYS[2], 'window_end')
local old_end = type(stored) == 'string' and tonumber(stored)
if old_end and tonumber(ARGV[1]) < old_end then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
local customers = tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], unpack(ARGV, 4, 3 + 2 * customers))
redis.call('HSET', KEYS[2], unpack(ARGV, 4 + 2 * customers))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
