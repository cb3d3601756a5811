// SaslHandshake, SaslAuthenticate where nobody has to authenticate: as a Kafka broker answers on such a listener, so that a client that
// is set to SASL hears at once that it is at the wrong port, and does not take a closed connection for a broker that is down.
#include "api/handler/answer.h"
#include "api/table.h"
#include "protocol/messages/sasl_authenticate.h"
#include "protocol/messages/sasl_handshake.h"

namespace odradek::api {

void handle_sasl_handshake(Services&, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::SaslHandshakeRequest>(request);
  if (!asked) return;
  protocol::SaslHandshakeResponse response;
  response.error_code = wire(ErrorCode::kIllegalSaslState);
  request->finish(response);
}

void handle_sasl_authenticate(Services&, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::SaslAuthenticateRequest>(request);
  if (!asked) return;
  protocol::SaslAuthenticateResponse response;
  response.error_code = wire(ErrorCode::kIllegalSaslState);
  response.error_message = "SaslAuthenticate request received after successful authentication";
  request->finish(response);
}

}  // namespace odradek::api
