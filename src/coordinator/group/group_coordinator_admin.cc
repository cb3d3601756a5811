// What administrators see and remove, in the form of each version.
#include <utility>

#include "base/string_map.h"
#include "coordinator/group/gather.h"
#include "coordinator/group/group_coordinator.h"
#include "coordinator/group/group_partitions.h"
#include "model/repeats.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/list_groups.h"

namespace odradek::coordinator {
namespace {

int16_t code(ErrorCode error) { return static_cast<int16_t>(error); }

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return text;
}

}  // namespace

void GroupCoordinator::describe_groups(protocol::DescribeGroupsRequest request, const ClientInfo& client,
                                       Reply<protocol::DescribeGroupsResponse> reply) {
  using Described = protocol::DescribeGroupsResponse::DescribedGroup;
  auto gather = Gather<Described>::make(request.groups.size(), [version = client.version, reply = std::move(reply)](std::vector<Described> groups) mutable {
    protocol::DescribeGroupsResponse response;
    response.groups = std::move(groups);
    if (version >= 6) {
      for (auto& group : response.groups) {
        if (group.error_code != 0 || group.group_state != name_of(GroupState::kDead)) continue;
        group.error_code = code(ErrorCode::kGroupIdNotFound);
        group.error_message = "Group " + group.group_id + " not found.";
      }
    }
    reply(std::move(response));
  });
  auto refused = [](std::string group_id, ErrorCode why) {
    Described group;
    group.group_id = std::move(group_id);
    group.error_code = code(why);
    return group;
  };
  Repeats<std::string> repeats;
  for (size_t i = 0; i < request.groups.size(); ++i) {
    std::string group_id = std::move(request.groups[i]);
    if (repeats.too_often(group_id)) {
      gather->set(i, refused(std::move(group_id), ErrorCode::kInvalidRequest));
      continue;
    }
    std::string route = group_id;
    partitions_->on_shard(route, true, [gather, i, refused, group_id = std::move(group_id)](GroupShard* shard, ErrorCode why) mutable {
      if (shard != nullptr) return shard->describe(group_id, [gather, i](Described described) { gather->set(i, std::move(described)); });
      gather->set(i, refused(std::move(group_id), why));
    });
  }
}

void GroupCoordinator::list_groups(protocol::ListGroupsRequest request, const ClientInfo&, Reply<protocol::ListGroupsResponse> reply) {
  struct Part {
    bool loading = false;
    std::vector<protocol::ListGroupsResponse::ListedGroup> groups;
  };
  if (partitions_->is_stopped()) {
    protocol::ListGroupsResponse response;
    response.error_code = code(ErrorCode::kCoordinatorNotAvailable);
    return reply(std::move(response));
  }
  auto slots = partitions_->all();
  auto gather = Gather<Part>::make(slots.size(), [request = std::move(request), reply = std::move(reply)](std::vector<Part> parts) mutable {
    protocol::ListGroupsResponse response;
    auto in_lower_case = [](std::vector<std::string>& words) {
      base::StringSet set;
      for (std::string& word : words) set.insert(lower_case(std::move(word)));
      return set;
    };
    const base::StringSet states = in_lower_case(request.states_filter), types = in_lower_case(request.types_filter);
    auto wanted = [](const base::StringSet& filter, std::string_view value) { return filter.empty() || filter.contains(lower_case(std::string(value))); };
    for (Part& part : parts) {
      if (part.loading) response.error_code = code(ErrorCode::kCoordinatorLoadInProgress);
      for (auto& group : part.groups) {
        if (wanted(states, group.group_state) && wanted(types, group.group_type)) {
          response.groups.push_back(std::move(group));
        }
      }
    }
    reply(std::move(response));
  });
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i]->strand->run([gather, i, slot = slots[i]] {
      Part part;
      part.loading = slot->loading;
      if (slot->shard) part.groups = slot->shard->list();
      gather->set(i, std::move(part));
    });
  }
}

void GroupCoordinator::delete_groups(protocol::DeleteGroupsRequest request, const ClientInfo&, Reply<protocol::DeleteGroupsResponse> reply) {
  using Deleted = protocol::DeleteGroupsResponse::DeletableGroupResult;
  base::StringSet seen;
  std::vector<std::string> ids;
  for (auto& id : request.groups_names) {
    if (seen.insert(id).second) ids.push_back(std::move(id));
  }
  auto gather = Gather<Deleted>::make(ids.size(), [reply = std::move(reply)](std::vector<Deleted> results) mutable {
    protocol::DeleteGroupsResponse response;
    response.results = std::move(results);
    reply(std::move(response));
  });
  for (size_t i = 0; i < ids.size(); ++i) {
    partitions_->on_shard(ids[i], true, [gather, i, group_id = ids[i]](GroupShard* shard, ErrorCode why) mutable {
      auto answer = [gather, i, group_id](ErrorCode error) {
        Deleted result;
        result.group_id = group_id;
        result.error_code = code(error);
        gather->set(i, std::move(result));
      };
      if (shard == nullptr) return answer(why);
      shard->remove_group(group_id, std::move(answer));
    });
  }
}

}  // namespace odradek::coordinator
