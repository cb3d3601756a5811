// InitProducerId of an idempotent producer: a new id with epoch 0. Transactional ids are refused with an error that clients take as
// final: transactions are not served.
#include "api/data/handlers.h"
#include "api/handler/answer.h"
#include "metadata/producer_ids.h"
#include "protocol/messages/init_producer_id.h"

namespace odradek::api {

void handle_init_producer_id(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::InitProducerIdRequest>(request);
  if (!asked) return;
  protocol::InitProducerIdResponse response;
  response.producer_epoch = -1;
  if (asked->transactional_id) {
    response.error_code = wire(asked->transactional_id->empty() ? ErrorCode::kInvalidRequest : ErrorCode::kUnsupportedVersion);
    return request->finish(response);
  }
  if ((asked->producer_id == -1) != (asked->producer_epoch == -1)) {
    response.error_code = wire(ErrorCode::kInvalidRequest);
    return request->finish(response);
  }
  services.producer_ids.next([request = std::move(request)](Result<ProducerId> id) mutable {
    protocol::InitProducerIdResponse answer;
    answer.producer_epoch = -1;
    if (id) {
      answer.producer_id = id->value;
      answer.producer_epoch = 0;
    } else {
      answer.error_code = wire(id.error().code);
    }
    request->finish(answer);
  });
}

}  // namespace odradek::api
