-- The limiter's state for all processes: counters in the exchange's calendar windows, waiting requests, and holds.
--
-- KEYS: the state (a hash), the queue (members "id weight orders_10s orders_1m", best first), the leases of its members.
-- ARGV: what to do, our ceiling of requests a minute, the three limits until the exchange has published its own, the rest.
-- Times are milliseconds. `now` is Redis's clock, `clock` the exchange's as far as we have measured it.
-- HOLD_CAPS, FIRST_PROBE_MS and LONGEST_PROBE_PAUSE_MS stand before this text, from `domain/holds.py`.
--
-- Other clients may write to this Redis. A value that this script cannot have written (a wrong type, text for a number,
-- a time years ahead, a waiter without a lease) is corrected first, and counted, so that it stops no request.

local STATE, QUEUE, LEASES = KEYS[1], KEYS[2], KEYS[3]
local LEASE_MS = 1000      -- how much longer than announced a waiter may be silent before it counts as gone
local PROBE_MS = 1000      -- how long the answer to a probe may take before another is sent
local WIDEST_MS = 200      -- the guard until the exchange's clock is measured well: an exit may wait for it
local COLD_SHARE = 0.9     -- of an unknown window, this much counts as used before us
local SETTLING = 1 / 6     -- the share of a window for which others are watched before their pace is projected
local CLOCK_MS = 300000    -- how long a measurement of the clock outranks a less certain one
local SOON_MS = 100        -- when to look again at room that is only kept for others

local LARGEST = 1e15       -- beyond every time and counter
local LEAST_LIMIT = 10     -- a limit below this would refuse even what cancels
local HELD = { 'everybody', 'orders', 'entries' }

local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local state, changes, corrected = {}, {}, 0

for key, kind in pairs({ [STATE] = 'hash', [QUEUE] = 'zset', [LEASES] = 'zset' }) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    redis.call('DEL', key)
    corrected = corrected + 1
  end
end
-- A waiter renews its lease with every question, for a moment only.
local LONGEST_LEASE_MS = 60000
for _, planted in ipairs(redis.call('ZRANGEBYSCORE', LEASES, now + LONGEST_LEASE_MS, '+inf')) do
  redis.call('ZREM', LEASES, planted)
  redis.call('ZREM', QUEUE, planted)
  corrected = corrected + 1
end
local raw = redis.call('HGETALL', STATE)
for i = 1, #raw, 2 do
  local value = tonumber(raw[i + 1])
  if value and value > -LARGEST and value < LARGEST then
    state[raw[i]] = value
  else
    redis.call('HDEL', STATE, raw[i])
    corrected = corrected + 1
  end
end

local function get(name) return state[name] or 0 end
local function set(name, value)
  state[name] = value
  changes[name] = value
end
local function at_most(name, most, instead)
  if get(name) > most then
    set(name, instead)
    corrected = corrected + 1
  end
end

for _, who in ipairs(HELD) do
  -- A moment more: the caller's milliseconds were added to a clock that has gone on.
  at_most('until:' .. who, now + HOLD_CAPS[who] + 1000, now + HOLD_CAPS[who])
  at_most('since:' .. who, now + 1000, 0)
end
at_most('probe:next', now + LONGEST_PROBE_PAUSE_MS + 1000, now)
for _, name in ipairs({ 'limit:weight', 'limit:orders_10s', 'limit:orders_1m' }) do
  if state[name] and state[name] < LEAST_LIMIT then
    redis.call('HDEL', STATE, name)
    state[name] = nil
    corrected = corrected + 1
  end
end
if corrected > 0 then
  set('corrected', get('corrected') + corrected)
  set('corrected_at', now)
  set('unlogged', get('unlogged') + corrected)
end

local function save()
  local fields = {}
  for name, value in pairs(changes) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.3f', value)
  end
  if #fields > 0 then redis.call('HSET', STATE, unpack(fields)) end
end

local clock = now + get('offset')
local guard = math.min(WIDEST_MS, state['doubt'] or WIDEST_MS)
-- In the order of a request's costs. `requests` is our own ceiling: its windows are ours, so they need no guard.
local COUNTERS = {
  { name = 'requests', length = 60000, limit = tonumber(ARGV[2]), guard = 0 },
  { name = 'weight', length = 60000, limit = state['limit:weight'] or tonumber(ARGV[3]), guard = guard },
  { name = 'orders_10s', length = 10000, limit = state['limit:orders_10s'] or tonumber(ARGV[4]), guard = guard },
  { name = 'orders_1m', length = 60000, limit = state['limit:orders_1m'] or tonumber(ARGV[5]), guard = guard },
}

-- What a window has used: our requests, or the exchange's figure plus the requests that it has not answered yet.
local function used(c)
  local known = math.max(c.own, c.seen + c.pending)
  return c.cold == 1 and known + c.limit * COLD_SHARE or known
end

-- What others on this address or account will have used by the end of the window, from what they have used so far.
local function foreign(c)
  local watched = (c.view - c.slot * c.length) / c.length
  return math.min(c.limit, math.max(c.carried, c.others / (watched + SETTLING)))
end

-- Note an answer's figure: what the exchange has counted beyond our own requests, others have sent.
local function see(c, figure)
  if figure < c.seen then return end
  c.seen = figure
  local theirs = math.max(0, figure - c.own)
  -- While requests are under way this is too little, never too much; with none it is exact.
  if theirs >= c.others or c.pending == 0 then c.others, c.view = theirs, c.at end
end

local FIELDS = { 'slot', 'own', 'pending', 'seen', 'others', 'view', 'before', 'next', 'carried', 'cold', 'probe' }

local function turn_over(c, slot)
  if slot == c.slot + 1 then
    local watched = math.max(SETTLING, (c.view - c.slot * c.length) / c.length)
    -- The use by others in the last window is expected again, less by half each time.
    c.carried = math.max(math.min(c.limit, c.carried) / 2, math.min(c.limit, c.others / watched))
    c.before, c.own = used(c), c.next
  else
    c.carried, c.before, c.own = 0, 0, 0
  end
  c.slot, c.pending, c.seen, c.others, c.next, c.cold, c.probe = slot, 0, 0, 0, 0, 0, 0
  c.view = slot * c.length
end

local function load(c)
  for _, field in ipairs(FIELDS) do c[field] = get(c.name .. ':' .. field) end
  local slot = math.floor(clock / c.length)
  if state[c.name .. ':slot'] == nil then
    -- Redis has lost its data, or never had any: until an answer has a figure, everything counts as used.
    c.slot, c.view, c.cold, c.before = slot, slot * c.length, 1, c.limit
  elseif slot > c.slot then
    turn_over(c, slot)
  elseif slot < c.slot - 1 then
    -- The clock was put back by more than a window: what was used counts again.
    c.slot, c.view = slot, slot * c.length
  end
  c.start = c.slot * c.length
  c.at = math.max(clock, c.start)
  c.left = c.start + c.length - c.at
end

local function store(c)
  for _, field in ipairs(FIELDS) do
    local name = c.name .. ':' .. field
    if state[name] ~= c[field] then set(name, c[field]) end
  end
end

for _, c in ipairs(COUNTERS) do load(c) end

-- Orders that entries under way will need for their protection, by windows of ten seconds: the last and this one.
local function promised()
  local slot = COUNTERS[3].slot
  local this = get('promise:slot') == slot and get('promise:this') or 0
  local last = 0
  if get('promise:slot') == slot then last = get('promise:last') end
  if get('promise:slot') == slot - 1 then last = get('promise:this') end
  return last, this
end

local function promise(last, this)
  set('promise:slot', COUNTERS[3].slot)
  set('promise:last', last)
  set('promise:this', this)
end

-- Whether a request could count in the window before, or in the one after.
local function near_start(c) return c.guard > 0 and c.at - c.start < c.guard end
local function near_end(c) return c.guard > 0 and c.left <= c.guard end

-- How long until `need` fits and the lane still leaves free what it must; 0: now.
local function wait_for(c, need, cost, lane)
  if c.cold == 1 and not lane.exits then
    return c.probe > now - PROBE_MS and 10 or 0
  end
  if near_start(c) and c.before + cost > c.limit * (1 - lane.at_end) then return c.start + c.guard - c.at end
  if near_end(c) and c.next + cost > c.limit * (1 - lane.at_start) then return c.left + c.guard end
  local held = 0
  if not lane.exits then
    local last, this = promised()
    held = foreign(c) * (c.start + c.length - c.view) / c.length + (c.name == 'weight' and 0 or last + this + lane.promise)
  end
  local least = lane.at_end * c.limit
  local keep = math.max(least, lane.at_start * c.limit * c.left / c.length)
  local missing = used(c) + need + held + keep - c.limit
  if missing <= 0 then return 0 end
  -- What the lane must leave free shrinks as the window ends: that may be enough.
  if missing <= keep - least then return missing * c.length / (lane.at_start * c.limit) end
  local in_vain = used(c) + need + least > c.limit
  return in_vain and c.left + c.guard or math.min(SOON_MS, c.left + c.guard)
end

local function charge(c, cost)
  c.own = c.own + cost
  if near_start(c) then
    c.before = c.before + cost
  else
    c.pending = c.pending + cost
    if near_end(c) then c.next = c.next + cost end
  end
  if c.cold == 1 then c.probe = now end
end

-- The window that an answer's figures will be of; -1 where using them could make a window look emptier than it is.
-- Near a window's end it may be of the next one: then it is below what is known already, and changes nothing.
local function window_of(c) return (near_start(c) or near_end(c) and c.cold == 1) and -1 or c.slot end

local function costs_of(member)
  local weight, ten, minute = string.match(member, ' (%d+) (%d+) (%d+)$')
  return weight and { 1, tonumber(weight), tonumber(ten), tonumber(minute) }
end

local function waits(member, costs)
  local lease = tonumber(redis.call('ZSCORE', LEASES, member) or '')
  if not (costs and lease and lease > now and lease < now + LONGEST_LEASE_MS) then return false end
  for i, c in ipairs(COUNTERS) do
    if costs[i] > c.limit then return false end
  end
  return true
end

-- What the requests ahead in the queue will take.
local function ahead_of(member, rank)
  local sums = { 0, 0, 0, 0 }
  if redis.call('ZCARD', QUEUE) == 0 then return sums end
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now)) do
    redis.call('ZREM', LEASES, gone)
    redis.call('ZREM', QUEUE, gone)
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', '(' .. rank)) do
    local costs = costs_of(other)
    if other ~= member and waits(other, costs) then
      for i, cost in ipairs(costs) do sums[i] = sums[i] + cost end
    elseif other ~= member then
      redis.call('ZREM', LEASES, other)
      redis.call('ZREM', QUEUE, other)
    end
  end
  return sums
end

local function held_back(lane, is_order)
  local until_ms, why = get('until:everybody'), 'everybody'
  if is_order and get('until:orders') > until_ms then until_ms, why = get('until:orders'), 'orders' end
  if not lane.exits and is_order and get('until:entries') > until_ms then
    until_ms, why = get('until:entries'), 'entries'
  end
  return math.max(0, until_ms - now), why
end

-- How long until an exit may probe whether a hold still stands.
local function probe_wait() return math.max(0, get('probe:next') - now) end

local function start_probe()
  local probes = math.min(16, get('probe:number') + 1)
  set('probe:number', probes)
  set('probe:at', now)
  set('probe:next', now + math.min(LONGEST_PROBE_PAUSE_MS, FIRST_PROBE_MS * 2 ^ probes))
end

local function end_hold(who)
  set('until:' .. who, 0)
  set('since:' .. who, 0)
end

local ACTIONS = {}

-- ARGV: lane, exits, at_start, at_end, promise, member, milliseconds left, longest pause, 1 to only look.
-- Returns 2 to go as a probe through a hold, 1 to go, 0 to ask again, -1 refused; the pause; the two windows; the limit
-- or hold that blocks; how many values were corrected that no log has named.
function ACTIONS.admit()
  local lane = {
    number = tonumber(ARGV[6]),
    exits = ARGV[7] == '1',
    at_start = tonumber(ARGV[8]),
    at_end = tonumber(ARGV[9]),
    promise = tonumber(ARGV[10]),
  }
  local member, left, cap = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13])
  local costs = costs_of(member)
  local rank = tonumber(redis.call('ZSCORE', QUEUE, member)) or lane.number * 2e15 + math.floor(now * 1000)
  local rank_text = string.format('%.0f', rank)
  local ahead = ahead_of(member, rank_text)
  local hold, why = held_back(lane, costs[3] > 0)
  local wait, held = hold, hold > 0
  if held then
    why = 'hold:' .. why
    -- A hold may be wrong, and a position may be unprotected: exits probe it, one at a time.
    if lane.exits then wait = math.min(hold, probe_wait()) end
  end
  for i, c in ipairs(COUNTERS) do
    if costs[i] > 0 then
      local own = wait_for(c, costs[i] + ahead[i], costs[i], lane)
      if own > wait then wait, why = own, c.name end
    end
  end
  if ARGV[14] == '1' then return { 0, math.ceil(wait), 0, 0, why, 0 } end
  local outcome = 0
  if wait == 0 then
    if held then start_probe() end
    for i, c in ipairs(COUNTERS) do
      if costs[i] > 0 then charge(c, costs[i]) end
    end
    local last, this = promised()
    if lane.promise > 0 then
      promise(last, this + lane.promise)
    elseif lane.number == 0 and costs[3] > 0 and last + this > 0 then
      promise(math.max(0, last - costs[3]), math.max(0, this - math.max(0, costs[3] - last)))
    end
    set('granted:' .. lane.number, get('granted:' .. lane.number) + 1)
    outcome, why = held and 2 or 1, ''
  elseif left <= 0 or (wait > left and not lane.exits) then
    set('refused:' .. lane.number, get('refused:' .. lane.number) + 1)
    outcome = -1
    -- The hold itself, not the next probe of it.
    if string.sub(why, 1, 5) == 'hold:' then wait = math.max(wait, hold) end
  end
  if outcome == 0 then
    wait = math.min(wait, cap)
    redis.call('ZADD', QUEUE, 'NX', rank_text, member)
    redis.call('ZADD', LEASES, now + wait + LEASE_MS, member)
  else
    redis.call('ZREM', QUEUE, member)
    redis.call('ZREM', LEASES, member)
  end
  for _, c in ipairs(COUNTERS) do store(c) end
  local unlogged = get('unlogged')
  if unlogged > 0 then set('unlogged', 0) end
  save()
  return { outcome, math.ceil(wait), window_of(COUNTERS[3]), window_of(COUNTERS[4]), why, unlogged }
end

-- ARGV: the two windows of the request, its three costs, the exchange's three figures (-1: not reported).
function ACTIONS.answered()
  local slots = { ['10000'] = tonumber(ARGV[6]), ['60000'] = tonumber(ARGV[7]) }
  local costs = { 1, tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]) }
  local figures = { -1, tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]) }
  local requests, weight, minute = COUNTERS[1], COUNTERS[2], COUNTERS[4]
  for i = 2, 4 do
    local c = COUNTERS[i]
    if slots[tostring(c.length)] == c.slot then
      if figures[i] >= 0 then
        c.pending = math.max(0, c.pending - costs[i])
        if c.cold == 1 then c.cold, c.own = 0, figures[i] + c.pending end
        see(c, figures[i])
      end
    end
  end
  -- Our own requests are at most the weight that was used, and the orders, which weigh nothing.
  if requests.cold == 1 and weight.cold == 0 then
    requests.cold, requests.own = 0, math.min(requests.limit, used(weight) + (minute.cold == 0 and used(minute) or 0))
  end
  for _, c in ipairs(COUNTERS) do store(c) end
  save()
  return {}
end

-- ARGV: who (everybody, orders, entries), milliseconds. A shorter time does not shorten a longer one.
function ACTIONS.hold()
  local who = ARGV[6]
  local name = 'until:' .. who
  local longest = math.min(tonumber(ARGV[7]), HOLD_CAPS[who])
  -- A hold that a probe has found again goes on doubling the pauses.
  if math.max(get('until:everybody'), get('until:orders')) <= now then
    set('probe:number', 0)
    set('probe:next', now + FIRST_PROBE_MS)
  end
  set(name, math.max(get(name), now + longest))
  set('since:' .. who, now)
  save()
  return {}
end

-- ARGV: 1 when the probe was an order. The exchange has served it: what was asked for before it no longer holds.
function ACTIONS.passed()
  for _, who in ipairs({ 'everybody', 'orders' }) do
    local through = who == 'everybody' or ARGV[6] == '1'
    if through and get('since:' .. who) <= get('probe:at') then end_hold(who) end
  end
  -- The next hold is another one: planting them one after the other gains no time.
  set('probe:number', 0)
  set('probe:next', 0)
  save()
  return {}
end

-- Ends every hold because an operator asked for it.
function ACTIONS.release()
  for _, who in ipairs(HELD) do end_hold(who) end
  set('probe:number', 0)
  set('probe:next', 0)
  save()
  return {}
end

-- ARGV: the exchange's limits of weight a minute, orders in ten seconds, orders a minute.
function ACTIONS.learn_limits()
  set('limit:weight', tonumber(ARGV[6]))
  set('limit:orders_10s', tonumber(ARGV[7]))
  set('limit:orders_1m', tonumber(ARGV[8]))
  save()
  return {}
end

-- ARGV: the exchange's time, how long ago that was, by how much it may be wrong.
function ACTIONS.learn_clock()
  local offset, doubt = tonumber(ARGV[6]) + tonumber(ARGV[7]) - now, tonumber(ARGV[8])
  local agrees = state['doubt'] and math.abs(offset - get('offset')) <= doubt + state['doubt']
  -- A busy process measures badly: its answer must not replace a better one that it does not contradict.
  if not (agrees and state['doubt'] < doubt and now - get('learnt') < CLOCK_MS) then
    set('offset', offset)
    set('doubt', doubt)
    set('learnt', now)
  end
  save()
  return {}
end

-- Returns the state without changing it: names and numbers in turn.
function ACTIONS.show()
  local found = {}
  local function add(name, value)
    found[#found + 1] = name
    found[#found + 1] = string.format('%.0f', value)
  end
  for _, c in ipairs(COUNTERS) do
    add(c.name .. ':limit', c.limit)
    add(c.name .. ':used', used(c))
    add(c.name .. ':reported', c.seen)
    add(c.name .. ':foreign', foreign(c))
    add(c.name .. ':known', 1 - c.cold)
  end
  for _, who in ipairs(HELD) do
    add('hold:' .. who, math.max(0, get('until:' .. who) - now))
  end
  for lane = 0, 3 do
    add('granted:' .. lane, get('granted:' .. lane))
    add('refused:' .. lane, get('refused:' .. lane))
  end
  add('waiting', redis.call('ZCOUNT', LEASES, now, '+inf'))
  add('offset', get('offset'))
  add('probes', get('probe:number'))
  add('probe_due', probe_wait())
  add('corrected', get('corrected'))
  add('corrected_ago', get('corrected_at') > 0 and math.max(0, now - get('corrected_at')) or -1)
  save()
  return found
end

return ACTIONS[ARGV[1]]()
