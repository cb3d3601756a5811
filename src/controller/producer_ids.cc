// Blocks of producer ids for brokers. Source: zookeeper.md §5.
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::StoreError;

namespace {
constexpr int64_t kProducerIdBlock = 1000;
}  // namespace

Async<void> Controller::Impl::handle_allocate_producer_ids(protocol::AllocateProducerIdsRequest request,
                                                           Reply<protocol::AllocateProducerIdsResponse> reply) {
  protocol::AllocateProducerIdsResponse response;
  auto broker = state.live.find({request.broker_id});
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
  } else if (broker == state.live.end()) {
    response.error_code = wire(ErrorCode::kBrokerIdNotRegistered);
  } else if (broker->second.epoch != request.broker_epoch) {
    response.error_code = wire(ErrorCode::kStaleBrokerEpoch);
  }
  while (response.error_code == 0) {
    auto node = co_await tree.get(paths::kProducerIdBlock);
    if (!node && node.error() == StoreError::kNoNode) {
      auto made = co_await tree.ensure(paths::kProducerIdBlock);
      if (made) continue;
    }
    if (!node || !in_office()) {
      response.error_code = wire(in_office() ? ErrorCode::kUnknownServerError : ErrorCode::kNotController);
      break;
    }
    auto former = metadata::decode_producer_id_block(node->data);
    if (!former) {
      log::error("controller", "{}", former.error().what);
      response.error_code = wire(ErrorCode::kUnknownServerError);
      break;
    }
    metadata::ProducerIdBlock block;
    block.broker = {request.broker_id};
    block.first = *former ? (*former)->last + 1 : 0;
    if (block.first > INT64_MAX - kProducerIdBlock) {
      log::error("controller", "producer ids are used up");
      response.error_code = wire(ErrorCode::kUnknownServerError);
      break;
    }
    block.last = block.first + kProducerIdBlock - 1;
    Bytes data = metadata::encode_producer_id_block(block);
    auto set = co_await tree.set(paths::kProducerIdBlock, data, node->stat.version);
    if (set) {
      response.producer_id_start = block.first;
      response.producer_id_len = static_cast<int32_t>(kProducerIdBlock);
      break;
    }
    // Another controller, or the own write of before a lost connection: a block that nobody uses does no harm.
    if (set.error() != StoreError::kBadVersion) response.error_code = wire(ErrorCode::kUnknownServerError);
  }
  reply(std::move(response));
}

}  // namespace odradek::controller
