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
    compose, invert_pose, transform_point = types.compose, types.invert_pose, types.transform_point
    rotate, rotation_matrix = types.rotate, types.rotation_matrix
    stage = distance(real)
    plane_distance, segment_distance = stage.plane_distance, stage.segment_distance
    misses_box, segment_box_distance = stage.misses_box, stage.segment_box_distance
    Constants = arguments(real).Constants

    @wp.func
    def first_three(a: vec4) -> vec3:
        """Position of a point with a radius."""
        return vec3(a[0], a[1], a[2])

    @wp.func
    def candidate_distance(
        kind: int,
        X_WA: transform,
        segment: vec4,
        half: vec3,
        X_WB: transform,
        frame: transform,
        size: vec4,
        up: vec3,
    ):
        """Distance, normal and point of a candidate whose links have these poses."""
        R_WA = rotation_matrix(wp.transform_get_rotation(X_WA))
        p_A = wp.transform_get_translation(X_WA) + R_WA * first_three(segment)
        if kind == GROUND:
            phi, g, x = plane_distance(p_A, segment[3], up)
        else:
            d_A = R_WA * half
            R_WB = rotation_matrix(wp.transform_get_rotation(X_WB))
            p_B = wp.transform_get_translation(X_WB) + R_WB * wp.transform_get_translation(frame)
            if kind == SEGMENT:
                phi, g, x = segment_distance(p_A, d_A, segment[3], p_B, R_WB * first_three(size), size[3])
            else:
                R_WF = R_WB * rotation_matrix(wp.transform_get_rotation(frame))
                R_FW = wp.transpose(R_WF)
                phi, g_F, x_F = segment_box_distance(R_FW * (p_A - p_B), R_FW * d_A, segment[3], first_three(size))
                g = R_WF * g_F
                x = p_B + R_WF * x_F
        return phi, g, x

    @wp.func
    def near(a: vec4, b: vec4) -> bool:
        """Whether two spheres meet."""
        apart = first_three(a) - first_three(b)
        reach = a[3] + b[3]
        return wp.dot(apart, apart) < reach * reach

    @wp.func
    def detect(
        pose: wp.array[transform], tree: Tree, constants: Constants, bound: wp.array[vec4], active: wp.array[int]
    ):
        """Write the number of contacts and their candidates to ``active``."""
        segment = constants.segment
        half = constants.segment_half
        frame = constants.other_frame
        size = constants.other_size
        count = wp.int32(0)
        for k in range(tree.ground_candidates):
            p = transform_point(pose[tree.candidate_owner[k][0]], first_three(segment[k]))
            if wp.dot(p, constants.up) < segment[k][3]:
                count = count + 1
                active[count] = k
        if tree.pairs > 0:
            for i in range(tree.shapes):
                ball = constants.shape_bound[i]
                centre = transform_point(pose[tree.shape_link[i]], first_three(ball))
                bound[i] = vec4(centre[0], centre[1], centre[2], ball[3])
        for i in range(tree.pairs):
            pair = tree.pair[i]
            if near(bound[pair[0]], bound[pair[1]]):
                first = pair[2]
                owner = tree.candidate_owner[first]
                X_WA = pose[owner[0]]
                X_WB = pose[owner[1]]
                kind = tree.candidate_kind[first]
                if kind == SEGMENT:
                    phi, _g, _x = candidate_distance(
                        kind, X_WA, segment[first], half[first], X_WB, frame[first], size[first], constants.up
                    )
                    if phi < real(0.0):
                        count = count + 1
                        active[count] = first
                else:
                    # Most edges of a box are far from the other box, which the frame of that shows at once.
                    X_FA = compose(invert_pose(compose(X_WB, frame[first])), X_WA)
                    h = first_three(size[first])
                    for k in range(first, pair[3]):
                        p = transform_point(X_FA, first_three(segment[k]))
                        d = rotate(wp.transform_get_rotation(X_FA), half[k])
                        if not misses_box(p, d, segment[k][3], h):
                            phi, _g, _x = segment_box_distance(p, d, segment[k][3], h)
                            if phi < real(0.0):
                                count = count + 1
                                active[count] = k
        active[0] = count

    @wp.func_replay(detect)
    def replay_detect(
        pose: wp.array[transform], tree: Tree, constants: Constants, bound: wp.array[vec4], active: wp.array[int]
    ):
        """Nothing: the contacts are in their array."""

    @wp.func_grad(detect)
    def adj_detect(
        pose: wp.array[transform], tree: Tree, constants: Constants, bound: wp.array[vec4], active: wp.array[int]
    ):
        """Nothing: which candidates touch has no derivative."""

    return SimpleNamespace(candidate_distance=candidate_distance, detect=detect)
