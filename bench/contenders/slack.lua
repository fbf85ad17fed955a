-- A Slack command: signature, form to JSON, publish. What Lockgate checks is checked here too: the
-- timestamp's age, the signature in constant time, the queue's answer before the sender is told.
local bit = require "bit"
local cjson = require "cjson.safe"
local ffi = require "ffi"

ffi.cdef [[
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
unsigned char *HMAC(const EVP_MD *md, const void *key, int key_len,
                    const unsigned char *data, size_t len, unsigned char *out, unsigned int *out_len);
]]

local sha256 = ffi.C.EVP_sha256()
local digest = ffi.new("unsigned char[32]")
local digest_length = ffi.new("unsigned int[1]")
local secret = os.getenv("SLACK_SIGNING_SECRET")
local hex = {}
for byte = 0, 255 do hex[byte] = string.format("%02x", byte) end

local MAX_AGE_S = 300

local function signature(text)
    ffi.C.HMAC(sha256, secret, #secret, text, #text, digest, digest_length)
    local out = {}
    for index = 0, 31 do out[index + 1] = hex[digest[index]] end
    return "v0=" .. table.concat(out)
end

local function equal(a, b)
    if #a ~= #b then return false end
    local difference = 0
    for index = 1, #a do
        difference = bit.bor(difference, bit.bxor(a:byte(index), b:byte(index)))
    end
    return difference == 0
end

local function access_token()
    local token = ngx.shared.tokens:get("access")
    if token then return token end
    local answer = ngx.location.capture("/internal/access-token")
    if answer.status ~= 200 then return nil end
    local fields = cjson.decode(answer.body)
    if not fields or not fields.access_token then return nil end
    ngx.shared.tokens:set("access", fields.access_token, 300)
    return fields.access_token
end

local _M = {}

function _M.command()
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    local headers = ngx.req.get_headers()
    local time, given = headers["x-slack-request-timestamp"], headers["x-slack-signature"]
    if not body or type(time) ~= "string" or type(given) ~= "string" then return ngx.exit(403) end
    local seconds = tonumber(time)
    if not seconds or math.abs(ngx.time() - seconds) > MAX_AGE_S then return ngx.exit(403) end
    if not equal(signature("v0:" .. time .. ":" .. body), given) then return ngx.exit(403) end

    local variables = {}
    for name, value in pairs(ngx.decode_args(body, 0)) do
        variables[name] = { type = "String", value = value }
    end
    local signal = cjson.encode({ name = "slackCommand", variables = variables })
    local token = access_token()
    if not token then return ngx.exit(503) end
    local message = cjson.encode({ messages = { {
        data = ngx.encode_base64(signal),
        attributes = { method = "POST", uri = "/engine-rest/signal" },
    } } })
    local answer = ngx.location.capture("/internal/publish", {
        method = ngx.HTTP_POST,
        body = message,
        vars = { authorization = "Bearer " .. token },
    })
    local stored = answer.status == 200 and cjson.decode(answer.body)
    if not stored or not stored.messageIds or #stored.messageIds ~= 1 then
        ngx.header["Retry-After"] = "1"
        return ngx.exit(503)
    end
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = 30
    ngx.print('{"response_type":"in_channel"}')
end

return _M
