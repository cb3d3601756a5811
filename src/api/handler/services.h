// What handlers may use. Filled once by app (and by sim); everything here outlives every request.
#pragma once

#include <cstdint>
#include <string>

#include "model/types.h"

namespace odradek::base {
class Runtime;
}
namespace odradek::storage {
class LogManager;
}
namespace odradek::replication {
class ReplicaManager;
class FetchSessionCache;
class FetchPipelines;
}
namespace odradek::coordinator {
class GroupCoordinator;
}
namespace odradek::metadata {
class ImageHolder;
class ConfigStore;
class ImageWaits;
class ProducerIds;
class Store;
}
namespace odradek::controller {
class Controller;
class TopicAdmin;
}
namespace odradek::config {
class ConfigHolder;
}
namespace odradek::metrics {
class Registry;
}

namespace odradek::api {

struct Services {
  base::Runtime& runtime;
  storage::LogManager& logs;
  replication::ReplicaManager& replicas;
  replication::FetchSessionCache& fetch_sessions;
  replication::FetchPipelines& fetch_pipelines;
  coordinator::GroupCoordinator& groups;
  metadata::ImageHolder& image;
  metadata::ConfigStore& config_store;
  metadata::Store& store;
  metadata::ImageWaits& image_waits;
  metadata::ProducerIds& producer_ids;
  controller::Controller& controller;
  controller::TopicAdmin& topic_admin;
  config::ConfigHolder& config;
  metrics::Registry& metrics;
  BrokerId self;
  std::string cluster_id;
  int32_t fetch_max_bytes = 57'671'680;  // fetch.max.bytes
};

}  // namespace odradek::api
