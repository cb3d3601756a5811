#include "mirror/connect.h"

#include <chrono>

namespace odradek::mirror {

Result<std::unique_ptr<client::Cluster>> connect(const Shared& shared, const std::string& bootstrap, int patience_ms) {
  client::ClusterOptions options;
  options.bootstrap = bootstrap;
  options.connection.client_id = "odradek-mirror-" + shared.options.name;
  options.connection.request_timeout = std::chrono::milliseconds(shared.options.request_timeout_ms);
  options.patience = std::chrono::milliseconds(patience_ms);
  options.patience_unknown_topic = std::chrono::milliseconds(1'000);
  return client::Cluster::make(shared.dialer, shared.runtime.random(), options);
}

}  // namespace odradek::mirror
