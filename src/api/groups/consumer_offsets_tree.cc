#include "api/groups/consumer_offsets_tree.h"

#include <charconv>

namespace odradek::api {

namespace {

ErrorCode code_of(metadata::StoreError error) { return metadata::to_error(error, "a consumer's offset").code; }

// Creates `path` with its parents, from the deepest one that is missing.
void create_with_parents(metadata::Store& store, std::string path, Bytes data, UniqueFunction<void(ErrorCode)> done) {
  std::string copy = path;
  Bytes content = data;
  store.create(std::move(copy), std::move(content), metadata::CreateMode::kPersistent,
               [&store, path = std::move(path), data = std::move(data), done = std::move(done)](metadata::StoreResult<metadata::CreatedNode> created) mutable {
                 if (created) return done(ErrorCode::kNone);
                 std::string parent(metadata::parent_of(path));
                 if (created.error() == metadata::StoreError::kNodeExists) {
                   // Somebody was faster; what he wrote is replaced, unless only the node itself was wanted.
                   if (data.empty()) return done(ErrorCode::kNone);
                   return store.set(std::move(path), std::move(data), metadata::kAnyVersion,
                                    [done = std::move(done)](metadata::StoreResult<metadata::Stat> set) mutable {
                                      done(set ? ErrorCode::kNone : code_of(set.error()));
                                    });
                 }
                 if (created.error() != metadata::StoreError::kNoNode || parent.size() <= 1) return done(code_of(created.error()));
                 create_with_parents(store, std::move(parent), {},
                                     [&store, path = std::move(path), data = std::move(data), done = std::move(done)](ErrorCode error) mutable {
                                       if (error != ErrorCode::kNone) return done(error);
                                       create_with_parents(store, std::move(path), std::move(data), std::move(done));
                                     });
               });
}

}  // namespace

std::optional<std::string> consumer_offset_path(const std::string& group, const std::string& topic, int32_t partition) {
  if (group.empty() || group.find('/') != std::string::npos) return std::nullopt;
  std::string path = "/consumers/" + group + "/offsets/" + topic + "/" + std::to_string(partition);
  if (!metadata::is_legal_path(path)) return std::nullopt;
  return path;
}

void write_consumer_offset(metadata::Store& store, std::string path, int64_t offset, UniqueFunction<void(ErrorCode)> done) {
  std::string text = std::to_string(offset);
  Bytes data(text.begin(), text.end());
  std::string copy = path;
  Bytes content = data;
  store.set(std::move(copy), std::move(content), metadata::kAnyVersion,
            [&store, path = std::move(path), data = std::move(data), done = std::move(done)](metadata::StoreResult<metadata::Stat> set) mutable {
              if (set) return done(ErrorCode::kNone);
              if (set.error() != metadata::StoreError::kNoNode) return done(code_of(set.error()));
              create_with_parents(store, std::move(path), std::move(data), std::move(done));
            });
}

void read_consumer_offset(metadata::Store& store, std::string path, UniqueFunction<void(ErrorCode, int64_t)> done) {
  store.get(std::move(path), nullptr, [done = std::move(done)](metadata::StoreResult<metadata::NodeData> node) mutable {
    if (!node) {
      return done(node.error() == metadata::StoreError::kNoNode ? ErrorCode::kUnknownTopicOrPartition : code_of(node.error()), -1);
    }
    std::string_view text = as_text(node->data);
    int64_t offset = -1;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), offset);
    if (error != std::errc() || end != text.data() + text.size()) return done(ErrorCode::kUnknownServerError, -1);
    done(ErrorCode::kNone, offset);
  });
}

}  // namespace odradek::api
