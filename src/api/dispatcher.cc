#include "api/dispatcher.h"

#include <exception>

#include "api/handler/answer.h"
#include "api/table.h"

namespace odradek::api {

namespace {

bool waits_for_the_cluster(protocol::ApiKey key) {
  switch (key) {
    case protocol::ApiKey::kLeaderAndIsr:
    case protocol::ApiKey::kStopReplica:
    case protocol::ApiKey::kUpdateMetadata:
    case protocol::ApiKey::kControlledShutdown:
    case protocol::ApiKey::kAlterPartition:
    case protocol::ApiKey::kAllocateProducerIds:
    case protocol::ApiKey::kApiVersions: return false;
    default: return true;
  }
}

}  // namespace

void Dispatcher::handle(request::RequestPtr request) {
  if (holding_.load(std::memory_order_acquire) && waits_for_the_cluster(request->api())) {
    base::MutexLock lock(mutex_);
    if (holding_.load(std::memory_order_relaxed)) {
      held_.push_back(std::move(request));
      return;
    }
  }
  dispatch(std::move(request));
}

void Dispatcher::hold_clients() {
  base::MutexLock lock(mutex_);
  holding_.store(true, std::memory_order_release);
}

void Dispatcher::serve_clients() {
  std::vector<request::RequestPtr> held;
  {
    base::MutexLock lock(mutex_);
    holding_.store(false, std::memory_order_release);
    held.swap(held_);
  }
  for (request::RequestPtr& request : held) dispatch(std::move(request));
}

void Dispatcher::refuse_held() {
  std::vector<request::RequestPtr> held;
  {
    base::MutexLock lock(mutex_);
    held.swap(held_);
  }
  for (request::RequestPtr& request : held) request->finish_and_close();
}

void Dispatcher::dispatch(request::RequestPtr request) {
  const Api* api = find_served(request->api());
  const bool in_range = api != nullptr && request->version() >= api->min_version && request->version() <= api->max_version;
  if (!in_range && request->api() != protocol::ApiKey::kApiVersions) {
    refuse(std::move(request), {ErrorCode::kUnsupportedVersion, "api " + std::to_string(request->header().request_api_key) + " version " +
                                                                    std::to_string(request->version()) + " is not served"});
    return;
  }
  try {
    api->handler(services_, std::move(request));
  } catch (const std::exception& thrown) {
    // The request went with the stack: its context closes the connection.
    log::error("request", "a handler of {} threw: {}", protocol::name_of(api->key), thrown.what());
  }
}

}  // namespace odradek::api
