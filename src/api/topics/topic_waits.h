// What the answers to topic requests wait for: this broker's own image (adminflows.md §4).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "metadata/image/image.h"

namespace odradek::api {

// Whether `topic` has at least `partitions` partitions and each of them has a leader that is alive.
inline bool has_leaders(const metadata::ClusterImage& image, const std::string& topic, size_t partitions) {
  const metadata::TopicImage* known = image.find_topic(topic);
  if (known == nullptr || known->partitions.size() < partitions) return false;
  return std::all_of(known->partitions.begin(), known->partitions.end(),
                     [&](const metadata::PartitionImage& partition) { return image.is_alive(partition.leader); });
}

}  // namespace odradek::api
