#include "api/handler/answer.h"

namespace odradek::api {

void refuse(request::RequestPtr request, const Error& error) {
  log::info("request", "closing the connection from {}:{} (client '{}'): {}", request->connection().peer_host, request->connection().peer_port,
            request->client_id(), error.what);
  request->finish_and_close();
}

}  // namespace odradek::api
