-- A push: the token is asked for at the token-info endpoint and believed for a minute, as the seed did;
-- then the stored request is restored and the upstream's answer says what becomes of the message.
local cjson = require "cjson.safe"

local PUSHER = "@PUSHER@"
local AUDIENCE = "@AUDIENCE@"
local ISSUER = "@ISSUER@"

local function is_push(token)
    local known = ngx.shared.tokens:get(token)
    if known ~= nil then return known end
    local answer = ngx.location.capture("/internal/token-info", { args = { id_token = token } })
    local claims = answer.status == 200 and cjson.decode(answer.body)
    local genuine = claims and claims.email == PUSHER and claims.email_verified == "true"
        and claims.iss == ISSUER and claims.aud == AUDIENCE or false
    if genuine then ngx.shared.tokens:set(token, true, 60) end
    return genuine
end

local _M = {}

function _M.restore()
    local authorization = ngx.var.http_authorization
    local token = authorization and authorization:match("^Bearer%s+(.+)$")
    if not token or not is_push(token) then return ngx.exit(403) end
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    local push = body and cjson.decode(body)
    local message = push and push.message
    local attributes = message and message.attributes
    local data = message and message.data and ngx.decode_base64(message.data)
    if not data or not attributes or not attributes.uri then return ngx.exit(500) end
    local answer = ngx.location.capture("/internal/upstream" .. attributes.uri, {
        method = ngx.HTTP_POST,
        body = data,
    })
    if answer.status == 429 or answer.status >= 500 then return ngx.exit(500) end
    return ngx.exit(204)
end

return _M
