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
    compose, invert_pose, rotate, rotate_back = types.compose, types.invert_pose, types.rotate, types.rotate_back
    transform_point = types.transform_point
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
        p_A = transform_point(X_WA, first_three(segment))
        if kind == GROUND:
            phi, g, x = plane_distance(p_A, segment[3], up)
        else:
            d_A = rotate(wp.transform_get_rotation(X_WA), half)
            if kind == SEGMENT:
                p_B = transform_point(X_WB, wp.transform_get_translation(frame))
                d_B = rotate(wp.transform_get_rotation(X_WB), first_three(size))
                phi, g, x = segment_distance(p_A, d_A, segment[3], p_B, d_B, size[3])
            else:
                X_box = compose(X_WB, frame)
                r_box = wp.transform_get_rotation(X_box)
                p = rotate_back(r_box, p_A - wp.transform_get_translation(X_box))
                phi, g_box, x_box = segment_box_distance(p, rotate_back(r_box, d_A), segment[3], first_three(size))
                g = rotate(r_box, g_box)
                x = transform_point(X_box, x_box)
        return phi, g, x

    @wp.func
    def detect(
        pose: wp.array[transform], tree: Tree, constants: Constants, bound: wp.array[vec4], active: wp.array[int]
    ):
        """Write the number of contacts and their candidates to ``active``."""
        count = wp.int32(0)
        for k in range(tree.ground_candidates):
            point = constants.segment[k]
            p = transform_point(pose[tree.candidate_owner[k][0]], first_three(point))
            if wp.dot(p, constants.up) < point[3]:
                count = count + 1
                active[count] = k
        if tree.pairs > 0:
            for i in range(tree.shapes):
                ball = constants.shape_bound[i]
                centre = transform_point(pose[tree.shape_link[i]], first_three(ball))
                bound[i] = vec4(centre[0], centre[1], centre[2], ball[3])
        for i in range(tree.pairs):
            pair = tree.pair[i]
            apart = bound[pair[0]] - bound[pair[1]]
            reach = bound[pair[0]][3] + bound[pair[1]][3]
            if apart[0] * apart[0] + apart[1] * apart[1] + apart[2] * apart[2] < reach * reach:
                start = pair[2]
                owner = tree.candidate_owner[start]
                X_WA = pose[owner[0]]
                size = constants.other_size[start]
                if tree.candidate_kind[start] == SEGMENT:
                    segment = constants.segment[start]
                    half = constants.segment_half[start]
                    X_WB = pose[owner[1]]
                    r_WB = wp.transform_get_rotation(X_WB)
                    phi, _g, _x = segment_distance(
                        transform_point(X_WA, first_three(segment)),
                        rotate(wp.transform_get_rotation(X_WA), half),
                        segment[3],
                        transform_point(X_WB, wp.transform_get_translation(constants.other_frame[start])),
                        rotate(r_WB, first_three(size)),
                        size[3],
                    )
                    if phi < real(0.0):
                        count = count + 1
                        active[count] = start
                else:
                    h = first_three(size)
                    X_BA = compose(invert_pose(compose(pose[owner[1]], constants.other_frame[start])), X_WA)
                    for k in range(start, pair[3]):
                        edge = constants.segment[k]
                        p = transform_point(X_BA, first_three(edge))
                        d = rotate(wp.transform_get_rotation(X_BA), constants.segment_half[k])
                        if not misses_box(p, d, h, edge[3]):
                            phi, _g, _x = segment_box_distance(p, d, edge[3], h)
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
