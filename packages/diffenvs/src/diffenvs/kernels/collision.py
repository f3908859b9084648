"""Which of the candidates for a contact touch, of those whose shapes are near each other."""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import ContactKind, Tree, arguments
from diffenvs.kernels.distance import distance
from diffenvs.spatial import algebra

GROUND = wp.constant(int(ContactKind.GROUND))
SEGMENT = wp.constant(int(ContactKind.SEGMENT))


@functools.cache
def collision(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec4, transform = types.vec3, types.vec4, types.transform
    compose, rotate, transform_point = types.compose, types.rotate, types.transform_point
    stage = distance(real)
    plane_distance, segment_distance = stage.plane_distance, stage.segment_distance
    segment_box_distance = stage.segment_box_distance
    Constants = arguments(real).Constants

    @wp.func
    def position(point: vec4) -> vec3:
        """Position of a point with a radius."""
        return vec3(point[0], point[1], point[2])

    @wp.func
    def candidate_distance(candidate: wp.vec3i, X_WA: transform, X_WB: transform, constants: Constants):
        """Distance, normal and point of a candidate whose links have these poses."""
        a = candidate[1]
        b = candidate[2]
        p_A = transform_point(X_WA, position(constants.segment[a]))
        radius = constants.segment[a][3]
        if candidate[0] == GROUND:
            phi, g, x = plane_distance(p_A, radius, constants.up)
        else:
            d_A = rotate(wp.transform_get_rotation(X_WA), constants.segment_half[a])
            if candidate[0] == SEGMENT:
                p_B = transform_point(X_WB, position(constants.segment[b]))
                d_B = rotate(wp.transform_get_rotation(X_WB), constants.segment_half[b])
                phi, g, x = segment_distance(p_A, d_A, radius, p_B, d_B, constants.segment[b][3])
            else:
                X_box = compose(X_WB, constants.box_frame[b])
                phi, g, x = segment_box_distance(p_A, d_A, radius, X_box, constants.box_extents[b])
        return phi, g, x

    @wp.func
    def detect(
        poses: wp.array[transform], tree: Tree, constants: Constants, centre: wp.array[vec3], active: wp.array[int]
    ):
        """Write the number of contacts and their candidates to ``active``."""
        count = wp.int32(0)
        for k in range(tree.ground_candidates):
            owner = tree.candidate_owner[k]
            phi, _g, _x = candidate_distance(tree.candidate[k], poses[owner[0]], poses[owner[1]], constants)
            if phi < real(0.0):
                count = count + 1
                active[count] = k
        if tree.pairs > 0:
            for i in range(tree.shapes):
                centre[i] = transform_point(poses[tree.shape_link[i]], position(constants.shape_bound[i]))
        for i in range(tree.pairs):
            pair = tree.pair[i]
            apart = centre[pair[0]] - centre[pair[1]]
            reach = constants.shape_bound[pair[0]][3] + constants.shape_bound[pair[1]][3]
            if wp.dot(apart, apart) < reach * reach:
                for k in range(pair[2], pair[3]):
                    owner = tree.candidate_owner[k]
                    phi, _g, _x = candidate_distance(tree.candidate[k], poses[owner[0]], poses[owner[1]], constants)
                    if phi < real(0.0):
                        count = count + 1
                        active[count] = k
        active[0] = count

    @wp.func_replay(detect)
    def replay_detect(
        poses: wp.array[transform], tree: Tree, constants: Constants, centre: wp.array[vec3], active: wp.array[int]
    ):
        """Nothing: the contacts are in their array."""

    @wp.func_grad(detect)
    def adj_detect(
        poses: wp.array[transform], tree: Tree, constants: Constants, centre: wp.array[vec3], active: wp.array[int]
    ):
        """Nothing: which candidates touch has no derivative."""

    return SimpleNamespace(candidate_distance=candidate_distance, detect=detect)
